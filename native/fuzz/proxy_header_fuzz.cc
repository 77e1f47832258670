// The PROXY v2 header for any addresses and any identity: its lengths agree with what follows, and a reader
// of the standard gets out what went in.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "native/fuzz/require.h"
#include "native/tunnel/proxy_protocol.h"

using hadal::fuzz::require;
using hadal::net::SocketAddress;

namespace {

constexpr size_t kFixedBytes = 16;
constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

/// 18 bytes of input; a set bit maps the address to IPv4.
SocketAddress take_address(const uint8_t*& data, bool v4) {
  SocketAddress out;
  std::memcpy(out.address.bytes.data(), data, 16);
  if (v4) {
    static constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    std::ranges::copy(kMapped, out.address.bytes.begin());
  }
  out.port = static_cast<uint16_t>(data[16] << 8 | data[17]);
  data += 18;
  return out;
}

struct Reader {
  std::span<const uint8_t> left;

  std::span<const uint8_t> take(size_t size) {
    require(left.size() >= size, "nothing is cut short");
    const auto part = left.first(size);
    left = left.subspan(size);
    return part;
  }
  size_t take_u16() {
    const auto bytes = take(2);
    return static_cast<size_t>(bytes[0]) << 8 | bytes[1];
  }
};

void check_address(Reader& reader, const SocketAddress& expected, bool v4) {
  const auto bytes = reader.take(v4 ? 4 : 16);
  require(std::ranges::equal(bytes, std::span(expected.address.bytes).last(bytes.size())),
          "the address is the one given");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 37) {
    return 0;
  }
  const uint8_t* at = data + 1;
  const SocketAddress source = take_address(at, (data[0] & 1) != 0);
  const SocketAddress destination = take_address(at, (data[0] & 2) != 0);
  const std::string_view identity(reinterpret_cast<const char*>(at), size - 37);
  const auto header = hadal::tunnel::write_proxy_header(source, destination, identity);

  Reader reader{header};
  require(std::memcmp(reader.take(12).data(), kSignature.data(), 12) == 0, "it begins with the signature");
  require(reader.take(1)[0] == 0x21, "version 2, PROXY");
  const bool v4 = source.address.is_v4() && destination.address.is_v4();
  require(reader.take(1)[0] == (v4 ? 0x11 : 0x21), "the family is that of the addresses");
  const size_t announced = reader.take_u16();
  require(announced == header.size() - kFixedBytes, "the length is that of what follows");
  check_address(reader, source, v4);
  check_address(reader, destination, v4);
  require(reader.take_u16() == source.port && reader.take_u16() == destination.port,
          "the ports are those given");
  if (!identity.empty()) {
    require(reader.take(1)[0] == hadal::tunnel::kProxyTlvIdentity, "the identity has its type");
    const auto value = reader.take(reader.take_u16());
    require(value.size() == std::min<size_t>(identity.size(), 2048) &&
                std::memcmp(value.data(), identity.data(), value.size()) == 0,
            "the identity is the one given");
  }
  require(reader.left.empty(), "nothing follows");
  return 0;
}
