// The single rules and routes of a capture: which ones there should be, and how they are put and deleted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/net/rtnetlink.h"
#include "native/net/rtnetlink_capture.h"
#include "native/net/rtnetlink_dump.h"

namespace hadal::net {

/// Shown by `ip route` as "proto 72"; the kernel leaves numbers above 4 to user space.
inline constexpr uint8_t kCaptureProtocol = 72;

[[nodiscard]] std::string family_name(uint8_t family);
[[nodiscard]] std::string describe(const RouteEntry& route);

/// "Not here": no IPv6 in the kernel or on this interface, or the interface went away or down meanwhile (its
/// own event brings us back).
[[nodiscard]] bool not_here(const Failure& failure);

[[nodiscard]] bool is_ours(const RuleEntry& rule, const CaptureRouting& routing);
[[nodiscard]] Result<void> change_rule(NetlinkSocket& socket, uint8_t family, const CaptureRouting& routing,
                                       bool add);
[[nodiscard]] Result<void> change_route(NetlinkSocket& socket, const RouteEntry& route, bool put);

/// The interface whose address is the pod's: the one of the default route, else the first that has an IPv4
/// address.
[[nodiscard]] uint32_t main_interface(NetlinkSocket& socket, const std::vector<LinkEntry>& links,
                                      const std::vector<InterfaceAddress>& addresses);
[[nodiscard]] RouteEntry wanted_route(uint8_t family, const LinkEntry& link, uint32_t main, uint32_t table,
                                      const std::vector<InterfaceAddress>& addresses);

}  // namespace hadal::net
