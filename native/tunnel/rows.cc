#include "native/tunnel/rows.h"

namespace hadal::tunnel {

// Vose's method, in whole numbers: `units` are weights times the number of places, so that a place holds
// `total` of them.
void OutboundRow::share_out() {
  shares.clear();
  const size_t count = endpoints.size();
  if (count <= 1) {
    return;
  }
  uint64_t total = 0;
  for (const OutboundEndpoint& endpoint : endpoints) {
    total += endpoint.weight;
  }
  shares.resize(count);
  std::vector<uint64_t> units;
  std::vector<uint32_t> lacking;
  std::vector<uint32_t> giving;
  units.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    units.push_back(uint64_t{endpoints[i].weight} * count);
    (units.back() < total ? lacking : giving).push_back(i);
  }
  // The sum is `total` times the number of places: while one lacks, another gives.
  while (!lacking.empty() && !giving.empty()) {
    const uint32_t poor = lacking.back();
    const uint32_t rich = giving.back();
    lacking.pop_back();
    const auto part = static_cast<double>(units[poor]) / static_cast<double>(total);
    shares[poor] = {.own = static_cast<uint64_t>(part * 4294967296.0), .other = rich};
    units[rich] -= total - units[poor];
    if (units[rich] < total) {
      giving.pop_back();
      lacking.push_back(rich);
    }
  }
}

const OutboundEndpoint* OutboundRow::pick(uint64_t random) const {
  if (endpoints.size() <= 1 || shares.size() != endpoints.size()) {
    return endpoints.empty() ? nullptr : &endpoints.front();
  }
  const auto place = static_cast<size_t>(((random >> 32) * endpoints.size()) >> 32);
  const EndpointShare& share = shares[place];
  return &endpoints[(random & 0xffffffff) < share.own ? place : share.other];
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
