#include "native/net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace hadal::net {
namespace {

constexpr std::array<uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.empty() || text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  text.copy(terminated.data(), text.size());
  in_addr v4{};
  if (inet_pton(AF_INET, terminated.data(), &v4) == 1) {
    return from_v4(v4);
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, terminated.data(), &v6) == 1) {
    return from_v6(v6);
  }
  return std::nullopt;
}

IpAddress IpAddress::from_v4(const in_addr& v4) {
  IpAddress address;
  std::ranges::copy(kMappedPrefix, address.bytes.begin());
  std::memcpy(address.bytes.data() + kMappedPrefix.size(), &v4.s_addr, 4);
  return address;
}

IpAddress IpAddress::from_v6(const in6_addr& v6) {
  IpAddress address;
  std::memcpy(address.bytes.data(), v6.s6_addr, 16);
  return address;
}

bool IpAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
}

bool IpAddress::is_loopback() const {
  static constexpr std::array<uint8_t, 16> kV6Loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return is_v4() ? bytes[12] == 127 : bytes == kV6Loopback;
}

std::string IpAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (is_v4()) {
    inet_ntop(AF_INET, bytes.data() + kMappedPrefix.size(), out.data(), out.size());
  } else {
    inet_ntop(AF_INET6, bytes.data(), out.data(), out.size());
  }
  return out.data();
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
  const bool bracketed = text.starts_with('[');
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view host = text.substr(0, colon);
  if (bracketed) {
    if (!host.ends_with(']')) {
      return std::nullopt;
    }
    host = host.substr(1, host.size() - 2);
  }
  // An unbracketed IPv6 address is ambiguous (where does the port start?); a bracketed IPv4 one is not an
  // authority.
  if (bracketed != (host.find(':') != std::string_view::npos)) {
    return std::nullopt;
  }
  const auto address = IpAddress::parse(host);
  const auto port = parse_port(text.substr(colon + 1));
  if (!address || !port) {
    return std::nullopt;
  }
  return SocketAddress{*address, *port};
}

SocketAddress SocketAddress::from_sockaddr(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    return {IpAddress::from_v4(v4.sin_addr), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  return {IpAddress::from_v6(v6.sin6_addr), ntohs(v6.sin6_port)};
}

std::string SocketAddress::text() const {
  const std::string host = address.text();
  return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Sockaddr::Sockaddr(const SocketAddress& from) {
  if (from.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(from.port);
    std::memcpy(&v4.sin_addr, from.address.bytes.data() + kMappedPrefix.size(), 4);
    length = sizeof(sockaddr_in);
    return;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(from.port);
  std::memcpy(&v6.sin6_addr, from.address.bytes.data(), 16);
  length = sizeof(sockaddr_in6);
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
    return std::nullopt;
  }
  return port;
}

}  // namespace hadal::net
