// Authority::parse: what it accepts has a port, a host out of the text, and reads back the same.
#include <cstdint>
#include <string>
#include <string_view>

#include "native/fuzz/require.h"
#include "native/tunnel/authority.h"

using hadal::fuzz::require;
using hadal::net::IpAddress;
using hadal::net::SocketAddress;
using hadal::tunnel::Authority;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of its own size, so that a read past the end is seen.
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto authority = Authority::parse(text);
  const auto address = SocketAddress::parse(text);
  if (const auto bare = IpAddress::parse(text)) {
    require(IpAddress::parse(bare->text()) == bare, "an address reads back the same");
  }
  if (address) {
    require(SocketAddress::parse(address->text()) == address, "a socket address reads back the same");
  }
  if (!authority) {
    require(!address || address->port == 0, "every address with a port is an authority");
    return 0;
  }
  require(authority->port != 0, "an authority has a port");
  require(!authority->host.empty() && std::string_view(text).starts_with(authority->host),
          "the host is a piece of the text");
  if (authority->address) {
    const SocketAddress same{*authority->address, authority->port};
    require(address == same, "an authority with an address is a socket address");
    const std::string canonical = same.text();
    require(Authority::parse(canonical)->address == authority->address, "its canonical form means the same");
  } else {
    require(authority->host.size() <= 253, "a name is no longer than DNS allows");
    require(!IpAddress::parse(authority->host), "a name is not an address");
    require(text == std::string(authority->host) + text.substr(authority->host.size()) &&
                text[authority->host.size()] == ':',
            "a name is followed by its port");
  }
  return 0;
}
