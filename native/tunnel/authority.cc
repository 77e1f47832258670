#include "native/tunnel/authority.h"

#include <algorithm>

namespace hadal::tunnel {
namespace {

constexpr size_t kMaxNameBytes = 253;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_';
}

bool is_host_name(std::string_view host) {
  // All digits and dots would be an IPv4 address that did not parse.
  return !host.empty() && host.size() <= kMaxNameBytes && std::ranges::all_of(host, is_name_character) &&
         host.find_first_not_of("0123456789.") != std::string_view::npos && host.front() != '.' &&
         host.find("..") == std::string_view::npos;
}

}  // namespace

std::optional<Authority> Authority::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view host = text.substr(0, colon);
  if (const auto address = net::SocketAddress::parse(text)) {
    return address->port == 0
               ? std::nullopt
               : std::optional(Authority{.address = address->address, .host = host, .port = address->port});
  }
  const auto port = net::parse_port(text.substr(colon + 1));
  if (!port || *port == 0 || !is_host_name(host)) {
    return std::nullopt;
  }
  return Authority{.address = std::nullopt, .host = host, .port = *port};
}

}  // namespace hadal::tunnel
