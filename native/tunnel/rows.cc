#include "native/tunnel/rows.h"

namespace hadal::tunnel {

const OutboundEndpoint* OutboundRow::pick(uint64_t random) const {
  if (endpoints.size() <= 1) {
    return endpoints.empty() ? nullptr : &endpoints.front();
  }
  uint64_t total = 0;
  for (const OutboundEndpoint& endpoint : endpoints) {
    total += endpoint.weight;
  }
  uint64_t point = random % total;
  for (const OutboundEndpoint& endpoint : endpoints) {
    if (point < endpoint.weight) {
      return &endpoint;
    }
    point -= endpoint.weight;
  }
  return &endpoints.back();
}

std::string InboundKey::packed() const {
  std::string text;
  text.reserve(20 + peer_identity.size() + authority.size() + forwarded_host.size());
  text.push_back(static_cast<char>(channel));
  text.append(reinterpret_cast<const char*>(peer_address.bytes.data()), peer_address.bytes.size());
  // None of the three can hold a zero byte: they come from certificates and HTTP headers that were checked.
  text.append(peer_identity).push_back('\0');
  text.append(authority).push_back('\0');
  text.append(forwarded_host);
  return text;
}

}  // namespace hadal::tunnel
