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

// One more when none has room, however many there are: what bounds them then is the bound on connections. For
// speed alone, when the best is busy, only up to a bound of its own. Never two at once for one key.
bool TunnelPool::wants_another(const PoolEntry& entry, const ClientTunnel* best) const {
  size_t in_use = 0;
  for (const ClientTunnel* tunnel : entry.tunnels) {
    if (tunnel->opening()) {
      return false;
    }
    in_use += tunnel->usable() ? 1 : 0;
  }
  return best == nullptr || (best->busy() && in_use < worker_.settings().pool.max_connections_per_key);
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
  while (TunnelWaiter* waiter = entry.waiters.front()) {
    ClientTunnel* best = best_of(entry);
    if (best == nullptr) {
      break;
    }
    waiter->unlink();
    waiter->on_tunnel(*best);
  }
  if (!entry.waiters.empty() && wants_another(entry, nullptr)) {
    open_tunnel(entry);
  }
}

void TunnelPool::on_dead(PoolEntry& entry, ClientTunnel& tunnel, uint16_t reason, const std::string& detail) {
  std::erase(entry.tunnels, &tunnel);
  disappoint_waiters(entry, reason, detail);
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
