#include "native/tunnel/tunnel_pool.h"

#include <algorithm>

#include "bpf/shared/reasons.h"
#include "native/tunnel/client_tunnel.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

void TunnelPool::acquire(const OutboundEndpoint& endpoint, TunnelWaiter& waiter) {
  PoolEntry& entry = entry_for(endpoint);
  ClientTunnel* best = best_of(entry);
  if (best != nullptr && entry.waiters.empty()) {
    if (wants_another(entry, best)) {
      open_tunnel(entry);
    }
    waiter.on_tunnel(*best);
    return;
  }
  entry.waiters.push_back(waiter);
  if (wants_another(entry, best)) {
    open_tunnel(entry);
  }
}

PoolEntry& TunnelPool::entry_for(const OutboundEndpoint& endpoint) {
  Key key{.destination = endpoint.destination, .identities = {}};
  for (const std::string& identity : *endpoint.peer_identities) {
    key.identities.append(identity).push_back('\n');
  }
  const auto [found, created] = entries_.try_emplace(std::move(key));
  if (created) {
    found->second.destination = endpoint.destination;
    found->second.peer_identities = endpoint.peer_identities;
  }
  return found->second;
}

/// The usable tunnel with the fewest streams.
ClientTunnel* TunnelPool::best_of(PoolEntry& entry) const {
  ClientTunnel* best = nullptr;
  for (ClientTunnel* tunnel : entry.tunnels) {
    if (tunnel->free_streams() > 0 && (best == nullptr || tunnel->streams() < best->streams())) {
      best = tunnel;
    }
  }
  return best;
}

// One more when none has room, however many there are already, or within bounds when the best is busy. While
// some are on their way, only for waiters that find no place in all of them.
bool TunnelPool::wants_another(const PoolEntry& entry, const ClientTunnel* best) const {
  const PoolSettings& pool = worker_.settings().pool;
  size_t opening = 0;
  size_t in_use = 0;
  for (const ClientTunnel* tunnel : entry.tunnels) {
    opening += tunnel->opening() ? 1 : 0;
    in_use += tunnel->usable() ? 1 : 0;
  }
  const bool may_be_faster = in_use + opening < pool.max_connections_per_key;
  const int64_t each = may_be_faster ? pool.busy_streams_per_connection : pool.max_streams_per_connection;
  // Less than none where a tunnel has more than it should, because nobody waits while one stands.
  int64_t places = static_cast<int64_t>(opening) * each;
  bool has_empty = false;
  for (const ClientTunnel* tunnel : entry.tunnels) {
    if (tunnel->usable()) {
      places += each - static_cast<int64_t>(tunnel->streams());
      has_empty |= tunnel->streams() == 0;
    }
  }
  if (opening > 0) {
    return places < 0 || entry.waiters.has_more_than(static_cast<size_t>(places));
  }
  if (best == nullptr) {
    // A tunnel without streams and yet without room leads to a peer that allows none: more of them would not
    // help.
    return !has_empty;
  }
  return may_be_faster && best->busy();
}

void TunnelPool::open_tunnel(PoolEntry& entry) {
  uint16_t reason = 0;
  std::string detail;
  ClientTunnel* tunnel = ClientTunnel::open(worker_, pod_, *this, entry, reason, detail);
  if (tunnel == nullptr) {
    disappoint_waiters(entry, reason, detail);
    return;
  }
  entry.tunnels.push_back(tunnel);
  worker_.count_tunnel_opened();
  tunnel->begin();
}

void TunnelPool::on_capacity(PoolEntry& entry) {
  serve_waiters(entry);
  if (!entry.waiters.empty() && wants_another(entry, best_of(entry))) {
    open_tunnel(entry);
  }
}

// The first tunnel that stands takes no more than it carries well while others are about to stand.
void TunnelPool::serve_waiters(PoolEntry& entry) {
  const bool others_come =
      std::ranges::any_of(entry.tunnels, [](const ClientTunnel* tunnel) { return tunnel->opening(); });
  while (TunnelWaiter* waiter = entry.waiters.front()) {
    ClientTunnel* best = best_of(entry);
    if (best == nullptr || (others_come && best->busy())) {
      break;
    }
    waiter->unlink();
    waiter->on_tunnel(*best);
  }
}

void TunnelPool::on_dead(PoolEntry& entry, ClientTunnel& tunnel, uint16_t reason, const std::string& detail) {
  std::erase(entry.tunnels, &tunnel);
  disappoint_waiters(entry, reason, detail);
  // Those that were left for it. Nothing is opened here: where one has just failed the next would at once.
  serve_waiters(entry);
}

void TunnelPool::disappoint_waiters(PoolEntry& entry, uint16_t reason, const std::string& detail) {
  const bool others = std::ranges::any_of(
      entry.tunnels, [](const ClientTunnel* other) { return other->usable() || other->opening(); });
  if (others) {
    return;
  }
  net::IntrusiveList<TunnelWaiter, PoolWaiterTag> disappointed;
  disappointed.take_all(entry.waiters);
  while (TunnelWaiter* waiter = disappointed.pop_front()) {
    waiter->on_no_tunnel(reason, detail);
  }
}

void TunnelPool::prune() {
  std::erase_if(entries_,
                [](const auto& item) { return item.second.tunnels.empty() && item.second.waiters.empty(); });
}

void TunnelPool::retire_all() {
  for (auto& [key, entry] : entries_) {
    for (ClientTunnel* tunnel : entry.tunnels) {
      tunnel->announce_shutdown();
    }
  }
}

}  // namespace hadal::tunnel
