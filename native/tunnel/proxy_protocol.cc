#include "native/tunnel/proxy_protocol.h"

#include <array>

namespace hadal::tunnel {
namespace {

constexpr std::array<uint8_t, 12> kSignature{0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                             0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr uint8_t kVersion2Proxy = 0x21;
constexpr uint8_t kTcp4 = 0x11;
constexpr uint8_t kTcp6 = 0x21;
constexpr size_t kMaxIdentityBytes = 2048;

void put_u16(std::vector<uint8_t>& out, size_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

void put_address(std::vector<uint8_t>& out, const net::IpAddress& address, bool v4) {
  out.insert(out.end(), address.bytes.begin() + (v4 ? 12 : 0), address.bytes.end());
}

}  // namespace

std::vector<uint8_t> write_proxy_header(const net::SocketAddress& source,
                                        const net::SocketAddress& destination,
                                        std::string_view source_identity) {
  const bool v4 = source.address.is_v4() && destination.address.is_v4();
  const std::string_view identity = source_identity.substr(0, kMaxIdentityBytes);
  const size_t address_bytes = (v4 ? 4 : 16) * 2 + 4;
  const size_t tlv_bytes = identity.empty() ? 0 : 3 + identity.size();

  std::vector<uint8_t> out;
  out.reserve(kSignature.size() + 4 + address_bytes + tlv_bytes);
  out.insert(out.end(), kSignature.begin(), kSignature.end());
  out.push_back(kVersion2Proxy);
  out.push_back(v4 ? kTcp4 : kTcp6);
  put_u16(out, address_bytes + tlv_bytes);
  put_address(out, source.address, v4);
  put_address(out, destination.address, v4);
  put_u16(out, source.port);
  put_u16(out, destination.port);
  if (!identity.empty()) {
    out.push_back(kProxyTlvIdentity);
    put_u16(out, identity.size());
    const auto* bytes = reinterpret_cast<const uint8_t*>(identity.data());
    out.insert(out.end(), bytes, bytes + identity.size());
  }
  return out;
}

}  // namespace hadal::tunnel
