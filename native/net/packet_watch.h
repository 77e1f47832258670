// The packets of one TCP port that a network namespace sees, on whichever interface: how the agent learns by
// which way a connection of its own really goes.
#pragma once

#include <cstdint>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::net {

struct SeenPacket {
  uint32_t interface_index = 0;
  /// Sent by the interface; else received.
  bool outgoing = false;
  SocketAddress source;
  SocketAddress destination;
};

class PacketWatch {
 public:
  PacketWatch(PacketWatch&&) = default;
  PacketWatch& operator=(PacketWatch&&) = delete;
  PacketWatch(const PacketWatch&) = delete;
  PacketWatch& operator=(const PacketWatch&) = delete;
  /// Does not wait for the kernel, which lets every CPU pass by before it closes such a socket.
  ~PacketWatch();

  /// Packets from or to the port, from now on. The kernel hands over no others (a socket filter), so that a
  /// busy node does not pay for the watch. Fragments and IPv6 with extension headers are not seen.
  [[nodiscard]] static Result<PacketWatch> start(int netns_fd, uint16_t port);

  /// What was seen since the last call; does not wait.
  [[nodiscard]] Result<std::vector<SeenPacket>> read();

 private:
  explicit PacketWatch(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace hadal::net
