// `:authority` of a CONNECT: `10.0.0.1:80`, `[fd00::1]:80` or `catalog.shop.svc.cluster.local:80`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "native/net/address.h"

namespace hadal::tunnel {

struct Authority {
  /// Absent when the host is a name.
  std::optional<net::IpAddress> address;
  std::string_view host;
  uint16_t port = 0;

  [[nodiscard]] static std::optional<Authority> parse(std::string_view text);
};

}  // namespace hadal::tunnel
