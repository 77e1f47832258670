// The `forwarded` header of a CONNECT (RFC 7239): `for="10.0.0.1:4711";host=catalog.shop.svc.cluster.local`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "native/net/address.h"

namespace hadal::tunnel {

struct Forwarded {
  /// The source, if it is an address with a port.
  std::optional<net::SocketAddress> source;
  std::string host;

  /// The first element of the list; unknown parameters are skipped. Nothing at all when the syntax is broken.
  [[nodiscard]] static std::optional<Forwarded> parse(std::string_view text);
};

[[nodiscard]] std::string write_forwarded(const net::SocketAddress& source, std::string_view host);

}  // namespace hadal::tunnel
