// Links, addresses, rules and routes as the kernel tells them, reduced to what capture needs.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/net/netns_admin.h"
#include "native/net/rtnetlink.h"

namespace hadal::net {

struct LinkEntry {
  uint32_t index = 0;
  std::string name;
  bool up = false;
  bool loopback = false;
  /// Of the bridge or the like whose port it is; 0: none.
  uint32_t master = 0;
  /// What it is: `veth`, `bridge`, `vxlan`; '' for a card of hardware and `lo`.
  std::string kind;
  /// Its other end, of veth and the like; 0: none.
  uint32_t peer = 0;
  /// Number, in this namespace, of the namespace in which the other end is; nullopt: in this one.
  std::optional<uint32_t> peer_namespace;
};

struct RuleEntry {
  uint8_t family = 0;
  uint32_t mark = 0;
  uint32_t mask = 0;
  uint32_t table = 0;
  uint32_t priority = 0;
  /// FR_ACT_...
  uint8_t action = 0;
  /// Who made it, as of routes; 0 before 4.17.
  uint8_t protocol = 0;
  /// '' for all.
  std::string incoming_interface;
  /// Looks a table up and selects by nothing but the mark.
  bool by_mark_alone = false;
};

struct RouteEntry {
  uint8_t family = 0;
  uint8_t type = 0;
  uint8_t scope = 0;
  uint8_t protocol = 0;
  uint8_t destination_bits = 0;
  /// nullopt for a default route.
  std::optional<IpAddress> destination;
  uint32_t table = 0;
  uint32_t metric = 0;
  uint32_t interface_index = 0;
  /// IPv4 only.
  std::optional<IpAddress> preferred_source;

  friend bool operator==(const RouteEntry&, const RouteEntry&) = default;
};

[[nodiscard]] Result<std::vector<LinkEntry>> dump_links(NetlinkSocket& socket);
/// By which number the socket's namespace knows another one; nullopt: by none, so no link leads there.
[[nodiscard]] Result<std::optional<uint32_t>> namespace_number(NetlinkSocket& socket, int netns_fd);
[[nodiscard]] Result<std::vector<InterfaceAddress>> dump_addresses(NetlinkSocket& socket);
/// Empty where the kernel has no such family.
[[nodiscard]] Result<std::vector<RuleEntry>> dump_rules(NetlinkSocket& socket, uint8_t family);
[[nodiscard]] Result<std::vector<RouteEntry>> dump_routes(NetlinkSocket& socket, uint8_t family,
                                                          uint32_t table);

[[nodiscard]] std::optional<RuleEntry> parse_rule(const nlmsghdr* message);
[[nodiscard]] std::optional<RouteEntry> parse_route(const nlmsghdr* message);

}  // namespace hadal::net
