// The connections that we opened out of a pod, known to all workers. One of them that comes
// back as a captured connection would be carried again, and again: such a loop is refused before it starts.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

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
  std::unordered_set<Connection, ConnectionHash> connections_;
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
      list_->connections_.erase(connection_);
    }
  }

 private:
  std::shared_ptr<OwnSockets> list_;
  Connection connection_;
};

}  // namespace hadal::tunnel
