// Sockets of the agent in a pod's network namespace: resolvers of names, and the queries that they pass on.
// Exempt from capture, as all of the agent's.
#pragma once

#include <cstdint>
#include <optional>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::net {

struct PodSocketRequest {
  bool is_udp = false;
  bool is_ipv6 = false;
  /// Bound to it; port 0 lets the kernel choose.
  std::optional<SocketAddress> local{};
  /// Connects without waiting, so errors of TCP are told when the socket is read or written.
  std::optional<SocketAddress> remote{};
  /// TCP: listens.
  bool listen = false;
  int exempt_map_fd = -1;
};

struct PodSocket {
  UniqueFd fd;
  /// 0 when it was not bound.
  uint16_t port = 0;
};

[[nodiscard]] Result<PodSocket> open_pod_socket(int netns_fd, const PodSocketRequest& request);
/// The same without a thread for it: the caller's own visits the namespace. Not on Node's main thread.
[[nodiscard]] Result<PodSocket> open_pod_socket_here(int netns_fd, const PodSocketRequest& request);

}  // namespace hadal::net
