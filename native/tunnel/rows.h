// Rows of the decision tables: what TypeScript decided about a connection, ready to be repeated. Immutable
// and shared by all workers; each worker has tables of its own that point here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "native/net/address.h"
#include "native/net/intrusive_list.h"

namespace hadal::tunnel {

class Flow;
struct RowFlowTag;
/// Connections that one row has let through.
using RowFlows = net::IntrusiveList<Flow, RowFlowTag>;

enum class EndpointPath : uint8_t { tunnel, plaintext };

struct OutboundEndpoint {
  uint32_t edge = 0;
  uint32_t weight = 1;
  EndpointPath path = EndpointPath::tunnel;
  net::SocketAddress destination;
  std::string authority;
  std::shared_ptr<const std::vector<std::string>> peer_identities;
  std::string forwarded_host;
  std::string baggage;
};

/// One place of an alias table: all places are picked alike, and each is its own endpoint's up to `own`, else
/// `other`'s.
struct EndpointShare {
  uint64_t own = uint64_t{1} << 32;
  uint32_t other = 0;
};

struct OutboundRow {
  uint32_t pod_index = 0;
  net::SocketAddress destination;
  uint16_t reason = 0;
  uint32_t refusal_edge = 0;
  /// A refusal that open connections do not survive either.
  bool ends_open = false;
  std::vector<OutboundEndpoint> endpoints;
  /// Made of the weights by `share_out`, which must come after every change of the endpoints; empty for a
  /// single one.
  std::vector<EndpointShare> shares = {};

  /// Prepares `pick`, in time proportional to the endpoints.
  void share_out();
  /// In constant time, whatever the endpoints and their weights. `random` is uniform over its whole range.
  /// Null when there is no endpoint.
  [[nodiscard]] const OutboundEndpoint* pick(uint64_t random) const;
};

enum class InboundChannel : uint8_t { hbone, plaintext };

struct InboundKey {
  uint32_t pod_index = 0;
  InboundChannel channel = InboundChannel::hbone;
  net::IpAddress peer_address;
  std::string peer_identity;
  std::string authority;
  std::string forwarded_host;

  /// One string that tells keys of a pod apart.
  [[nodiscard]] std::string packed() const;
};

struct InboundRow {
  InboundKey key;
  uint16_t reason = 0;
  uint16_t status = 401;
  uint32_t edge = 0;
  /// A refusal that open connections do not survive either.
  bool ends_open = false;
  net::SocketAddress upstream;
  std::optional<net::SocketAddress> proxy_destination;
  bool loopback = false;
  std::string baggage;
};

/// A row in a worker's table, with the connections that it let through.
template <typename Row>
struct HeldRow {
  std::shared_ptr<const Row> row;
  /// TypeScript has forgotten it: new connections ask. Kept for those that live, which are judged again by
  /// its key.
  bool forgotten = false;
  RowFlows flows;
};

/// Transparent hash, so that a lookup needs no std::string of its own.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace hadal::tunnel
