// The TCP sockets of a network namespace, and their end from outside.
#pragma once

#include <cstdint>
#include <vector>

#include "native/base/failure.h"
#include "native/net/address.h"

namespace hadal::net {

struct TcpSocketEntry {
  uint8_t family =
      4;  // 4 or 6; a dual-stack socket that carries IPv4 is listed as 6 by the kernel, as 4 here
  uint8_t state = 0;
  SocketAddress local;
  SocketAddress remote;
  uint32_t mark = 0;
  uint32_t uid = 0;
  uint32_t inode = 0;
  uint32_t interface_index = 0;
  /// Names exactly this socket: the tuple may be another's by the time of a second call.
  uint64_t cookie = 0;
};

/// A bit per state (1 << TCP_LISTEN); all by default.
inline constexpr uint32_t kAllTcpStates = 0xffffffff;
[[nodiscard]] Result<std::vector<TcpSocketEntry>> tcp_sockets(int netns_fd, uint32_t states = kAllTcpStates);

/// Ends the socket as by an incoming RST: its owner sees ECONNABORTED. False: it is gone already. Needs
/// CONFIG_INET_DIAG_DESTROY.
[[nodiscard]] Result<bool> destroy_tcp_socket(int netns_fd, const TcpSocketEntry& socket);

}  // namespace hadal::net
