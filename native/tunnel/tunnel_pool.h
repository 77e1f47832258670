// The tunnels that one pod has open, by where they lead and whom they must meet there. One worker, one pod,
// one pool.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/net/intrusive_list.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

class ClientTunnel;
class Pod;
class Worker;

struct PoolWaiterTag;

class TunnelWaiter : public net::ListHook<PoolWaiterTag> {
 public:
  virtual void on_tunnel(ClientTunnel& tunnel) = 0;
  virtual void on_no_tunnel(uint16_t reason, const std::string& detail) = 0;

 protected:
  ~TunnelWaiter() = default;
};

/// All tunnels of one key.
struct PoolEntry {
  net::SocketAddress destination;
  std::shared_ptr<const std::vector<std::string>> peer_identities;
  std::vector<ClientTunnel*> tunnels;
  net::IntrusiveList<TunnelWaiter, PoolWaiterTag> waiters;
};

class TunnelPool {
 public:
  TunnelPool(Worker& worker, Pod& pod) : worker_(worker), pod_(pod) {}
  TunnelPool(const TunnelPool&) = delete;
  TunnelPool& operator=(const TunnelPool&) = delete;

  /// Answers at once when a tunnel stands, else later; concurrent first callers share one new tunnel.
  void acquire(const OutboundEndpoint& endpoint, TunnelWaiter& waiter);

  void on_dead(PoolEntry& entry, ClientTunnel& tunnel, uint16_t reason, const std::string& detail);
  /// A tunnel stands, or a stream of one ended: waiters may be served.
  void on_capacity(PoolEntry& entry);
  /// A renewed certificate: what is open takes no new streams and ends with its last one.
  void retire_all();
  /// Forgets keys that nobody uses. Once a second.
  void prune();

 private:
  struct Key {
    net::SocketAddress destination;
    std::string identities;
    auto operator<=>(const Key&) const = default;
  };

  [[nodiscard]] PoolEntry& entry_for(const OutboundEndpoint& endpoint);
  [[nodiscard]] ClientTunnel* best_of(PoolEntry& entry) const;
  [[nodiscard]] bool wants_another(const PoolEntry& entry, const ClientTunnel* best) const;
  void open_tunnel(PoolEntry& entry);
  void serve_waiters(PoolEntry& entry);
  void disappoint_waiters(PoolEntry& entry, uint16_t reason, const std::string& detail);

  Worker& worker_;
  Pod& pod_;
  std::map<Key, PoolEntry> entries_;
};

}  // namespace hadal::tunnel
