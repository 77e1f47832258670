// Sockets made ahead of their use inside a pod's network namespace, so that one visit there serves several
// connections.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "native/base/unique_fd.h"
#include "native/tunnel/settings.h"

namespace hadal::tunnel {

enum class SocketUse : uint8_t {
  /// Leaves the pod: a tunnel, or plaintext to another pod. Exempt from the connect hook, never marked.
  dial,
  /// To the application over lo with the client's address: exempt, transparent, marked so that replies come
  /// back.
  delivery,
};

class SocketStock {
 public:
  SocketStock(const Settings& settings, int netns_fd) : settings_(settings), netns_fd_(netns_fd) {}

  /// Invalid with errno set when none could be made.
  [[nodiscard]] UniqueFd take(SocketUse use, int family, int64_t now_ns);
  /// Gives back what nobody needed lately.
  void trim(int64_t now_ns);

 private:
  struct Shelf {
    std::vector<UniqueFd> sockets;
    int64_t refilled_ns = 0;
    size_t batch = 1;
  };

  [[nodiscard]] Shelf& shelf(SocketUse use, int family);
  void refill(Shelf& shelf, SocketUse use, int family, int64_t now_ns);
  [[nodiscard]] UniqueFd make(SocketUse use, int family) const;
  [[nodiscard]] bool prepare_delivery(int fd, int family) const;

  const Settings& settings_;
  int netns_fd_;
  std::array<Shelf, 4> shelves_;
};

}  // namespace hadal::tunnel
