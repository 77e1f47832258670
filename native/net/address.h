// IP addresses and ports as the data path holds them: 16 bytes, IPv4 mapped into IPv6, ports in host order.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::net {

struct IpAddress {
  /// Network order; IPv4 as ::ffff:a.b.c.d.
  std::array<uint8_t, 16> bytes{};

  /// Strict text form: `10.0.0.1` or `fd00::1`, no brackets, no zone. A mapped `::ffff:10.0.0.1` is IPv4.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
  [[nodiscard]] static IpAddress from_v4(const in_addr& v4);
  [[nodiscard]] static IpAddress from_v6(const in6_addr& v6);

  [[nodiscard]] bool is_v4() const;
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] std::string text() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

struct SocketAddress {
  IpAddress address;
  uint16_t port = 0;

  /// `10.0.0.1:80` or `[fd00::1]:80`.
  [[nodiscard]] static std::optional<SocketAddress> parse(std::string_view text);
  [[nodiscard]] static SocketAddress from_sockaddr(const sockaddr_storage& storage);
  [[nodiscard]] std::string text() const;

  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

/// What the socket calls want: AF_INET for IPv4, never a mapped AF_INET6.
struct Sockaddr {
  explicit Sockaddr(const SocketAddress& from);

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }

  sockaddr_storage storage{};
  socklen_t length = 0;
};

[[nodiscard]] std::optional<uint16_t> parse_port(std::string_view text);

struct IpAddressHash {
  size_t operator()(const IpAddress& address) const {
    uint64_t high = 0;
    uint64_t low = 0;
    std::memcpy(&high, address.bytes.data(), 8);
    std::memcpy(&low, address.bytes.data() + 8, 8);
    return (high * 0x9e3779b97f4a7c15ULL) ^ (low * 0xc2b2ae3d27d4eb4fULL) ^ (low >> 29);
  }
};

struct SocketAddressHash {
  size_t operator()(const SocketAddress& endpoint) const {
    return IpAddressHash{}(endpoint.address) ^ (static_cast<size_t>(endpoint.port) * 0x165667b19e3779f9ULL);
  }
};

}  // namespace hadal::net
