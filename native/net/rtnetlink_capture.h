// The rule and routes that bring marked connections of a pod to the agent's listener in that pod.
//
// One rule per family sends the mark to a table of `local default dev X` routes, one for every interface that
// is up: a socket bound to a device considers only routes of that device, so one route would let it leave in
// clear. An IPv4 local route without a preferred source would make the destination its own source (the kernel
// takes the destination for a local address); so IPv4 routes name the pod's address, IPv6 selects a source by
// itself.
//
// Routes to one destination differ by metric, which is the interface's index. So lo's comes first, with the
// main interface's address as source, and an unbound socket takes it: a packet shows the interface of its
// route when it comes back, and the agent's sockets towards the application, bound to lo, see no answer that
// shows another.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/net/rtnetlink.h"
#include "native/net/rtnetlink_dump.h"

namespace hadal::net {

struct CaptureRouting {
  uint32_t mark = 0;
  uint32_t mask = 0;
  /// Owned by the capture: whatever else is in it is removed.
  uint32_t table = 0;
  uint32_t priority = 0;
};

/// One piece of a namespace's capture, by name: "IPv4 rule", "IPv6 route of eth0".
struct CaptureRepair {
  enum class What : uint8_t { rule, route, filter };
  What what = What::rule;
  std::string detail;
  /// It was in place before and somebody took it away (or put something beside it); else it is new.
  bool lost = false;
};

/// What is in place after a synchronization, to tell lost from new at the next.
struct CaptureState {
  std::set<std::string> held;
  /// Of virtual interfaces (virtual_interfaces.h).
  std::set<std::string> held_interfaces;
};

/// Makes the namespace of `socket` match `routing`; returns what had to be done. Idempotent. Interfaces and
/// namespaces without IPv6 are left without.
[[nodiscard]] Result<std::vector<CaptureRepair>> sync_capture(NetlinkSocket& socket,
                                                              const CaptureRouting& routing,
                                                              CaptureState& state);

[[nodiscard]] Result<void> add_capture_routing(int netns_fd, const CaptureRouting& routing);
/// Removes the rules and empties the table.
[[nodiscard]] Result<void> remove_capture_routing(int netns_fd, const CaptureRouting& routing);

}  // namespace hadal::net
