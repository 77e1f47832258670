// Interfaces of a pod behind which a machine runs that the pod holds, such as the tap of a virtual machine.
// The kernel would forward what it sends; here its TCP is brought to the agent instead.
//
// A program at each interface (bpf/virtual_interface.bpf.c) gives a packet to the agent's socket and marks
// it; a rule of that mark and the interface's name sends it to the capture's table, and so into the pod. A
// name whose interface does not exist yet has a rule that holds its TCP back: the kernel applies it in the
// moment in which the interface appears, and it goes once the program is there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/rtnetlink.h"
#include "native/net/rtnetlink_capture.h"

namespace hadal::net {

struct InterfaceProgram {
  UniqueFd fd;
  /// The kernel's id, by which an attached one is known.
  uint32_t id = 0;
};

struct InterfacePrograms {
  InterfaceProgram from_machine;
  InterfaceProgram to_machine;
  /// For an interface that is a port of another and brings no packet to the pod itself.
  InterfaceProgram refuse;
};

struct VirtualInterfaces {
  /// They need not exist.
  std::vector<std::string> names;
  uint32_t mark = 0;
  /// nullptr only without names.
  std::shared_ptr<const InterfacePrograms> programs;
};

/// uplink: it leads out of the pod. What comes by it is not a machine's of the pod, and stays as it was.
enum class InterfaceStanding : uint8_t { captured, missing, port, uplink, failed };

struct InterfaceState {
  std::string name;
  /// 0 while there is none.
  uint32_t index = 0;
  InterfaceStanding standing = InterfaceStanding::missing;
  /// Of a failed one: why.
  std::string problem;
  friend bool operator==(const InterfaceState&, const InterfaceState&) = default;
};

/// Makes the namespace of `socket` capture exactly these interfaces; tells how each stands and adds what had
/// been lost to `repairs`. Idempotent.
[[nodiscard]] Result<std::vector<InterfaceState>> sync_virtual_interfaces(
    NetlinkSocket& socket, const CaptureRouting& routing, const VirtualInterfaces& wanted,
    CaptureState& state, std::vector<CaptureRepair>& repairs);

/// The same from outside of the namespace, once.
[[nodiscard]] Result<std::vector<InterfaceState>> capture_interfaces(int netns_fd,
                                                                     const CaptureRouting& routing,
                                                                     const VirtualInterfaces& wanted);

}  // namespace hadal::net
