// Local ends of the connections that we opened out of a pod, known to all workers. One of them that comes
// back as a captured connection would be carried again, and again: such a loop is refused before it starts.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "native/net/address.h"

namespace hadal::tunnel {

class OwnSockets {
 public:
  [[nodiscard]] bool contains(const net::SocketAddress& address) const {
    const std::lock_guard lock(mutex_);
    return addresses_.contains(address);
  }

 private:
  friend class OwnSocket;

  mutable std::mutex mutex_;
  std::unordered_set<net::SocketAddress, net::SocketAddressHash> addresses_;
};

/// Listed for as long as it lives.
class OwnSocket {
 public:
  OwnSocket() = default;
  OwnSocket(std::shared_ptr<OwnSockets> list, const net::SocketAddress& address)
      : list_(std::move(list)), address_(address) {
    const std::lock_guard lock(list_->mutex_);
    list_->addresses_.insert(address_);
  }
  OwnSocket(OwnSocket&& other) noexcept : list_(std::move(other.list_)), address_(other.address_) {}
  OwnSocket& operator=(OwnSocket&& other) noexcept {
    std::swap(list_, other.list_);
    std::swap(address_, other.address_);
    return *this;
  }
  OwnSocket(const OwnSocket&) = delete;
  OwnSocket& operator=(const OwnSocket&) = delete;
  ~OwnSocket() {
    if (list_ != nullptr) {
      const std::lock_guard lock(list_->mutex_);
      list_->addresses_.erase(address_);
    }
  }

 private:
  std::shared_ptr<OwnSockets> list_;
  net::SocketAddress address_;
};

}  // namespace hadal::tunnel
