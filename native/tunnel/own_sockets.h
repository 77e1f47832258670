// The connections whose end in a pod's namespace is ours, known to all workers: those that we opened out of
// the pod, and those that we accepted in clear. One of the first that comes back as a captured connection
// would be carried again, and again: such a loop is refused before it starts. One of the second holds the
// tuple that a delivery from the same address and port would need.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::tunnel {

/// Both ends: an application may use the same local port towards another destination.
struct Connection {
  net::SocketAddress local;
  net::SocketAddress remote;

  friend bool operator==(const Connection&, const Connection&) = default;
};

struct ConnectionHash {
  size_t operator()(const Connection& connection) const {
    const net::SocketAddressHash hash;
    return hash(connection.local) * 31 + hash(connection.remote);
  }
};

class OwnSockets {
 public:
  [[nodiscard]] bool contains(const Connection& connection) const {
    const std::lock_guard lock(mutex_);
    return connections_.contains(connection);
  }

 private:
  friend class OwnSocket;

  mutable std::mutex mutex_;
  /// One that ended a moment ago may still be listed beside its successor.
  std::unordered_multiset<Connection, ConnectionHash> connections_;
};

/// Listed for as long as it lives.
class OwnSocket {
 public:
  OwnSocket() = default;
  OwnSocket(std::shared_ptr<OwnSockets> list, const Connection& connection)
      : list_(std::move(list)), connection_(connection) {
    const std::lock_guard lock(list_->mutex_);
    list_->connections_.insert(connection_);
  }
  OwnSocket(OwnSocket&& other) noexcept : list_(std::move(other.list_)), connection_(other.connection_) {}
  OwnSocket& operator=(OwnSocket&& other) noexcept {
    std::swap(list_, other.list_);
    std::swap(connection_, other.connection_);
    return *this;
  }
  OwnSocket(const OwnSocket&) = delete;
  OwnSocket& operator=(const OwnSocket&) = delete;
  ~OwnSocket() {
    if (list_ != nullptr) {
      const std::lock_guard lock(list_->mutex_);
      list_->connections_.erase(list_->connections_.find(connection_));
    }
  }

 private:
  std::shared_ptr<OwnSockets> list_;
  Connection connection_;
};

struct ListedSocket {
  UniqueFd fd;
  OwnSocket listed;
};

}  // namespace hadal::tunnel
