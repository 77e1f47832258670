// The PROXY protocol v2 header that announces a connection to an application tunnel (a waypoint in a pod).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "native/net/address.h"

namespace hadal::tunnel {

/// TLV type that ambient proxies use for the source's SPIFFE id.
inline constexpr uint8_t kProxyTlvIdentity = 0xd0;

/// Source and destination of different families are both written as IPv6 (mapped). An empty identity writes
/// no TLV.
[[nodiscard]] std::vector<uint8_t> write_proxy_header(const net::SocketAddress& source,
                                                      const net::SocketAddress& destination,
                                                      std::string_view source_identity);

}  // namespace hadal::tunnel
