#include "native/net/rtnetlink_capture.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "native/net/netns_visit.h"

namespace hadal::net {
namespace {

// Shown by `ip route` as "proto 72"; the kernel leaves numbers above 4 to user space.
constexpr uint8_t kProtocol = 72;
constexpr uint8_t kFamilies[] = {AF_INET, AF_INET6};

std::string family_name(uint8_t family) { return family == AF_INET ? "IPv4" : "IPv6"; }

/// "Not here": no IPv6 in the kernel or on this interface, or the interface went away or down meanwhile (its
/// own event brings us back).
bool not_here(const Failure& failure) {
  switch (failure.error_number) {
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
    case EACCES:
    case ENODEV:
    case ENETDOWN:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

bool is_ours(const RuleEntry& rule, const CaptureRouting& routing) {
  return rule.by_mark_alone && rule.mark == routing.mark && rule.mask == routing.mask &&
         rule.table == routing.table && rule.priority == routing.priority;
}

Result<void> change_rule(NetlinkSocket& socket, uint8_t family, const CaptureRouting& routing, bool add) {
  NetlinkRequest request(add ? RTM_NEWRULE : RTM_DELRULE,
                         static_cast<uint16_t>(NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0)));
  auto& body = request.body<fib_rule_hdr>();
  body.family = family;
  body.action = FR_ACT_TO_TBL;
  request.put(FRA_FWMARK, routing.mark)
      .put(FRA_FWMASK, routing.mask)
      .put(FRA_TABLE, routing.table)
      .put(FRA_PRIORITY, routing.priority);
  auto done = socket.change(request, (add ? "add the " : "delete the ") + family_name(family) +
                                         " rule of mark " + std::to_string(routing.mark));
  const int benign = add ? EEXIST : ENOENT;
  if (!done && done.error().error_number != benign && !not_here(done.error())) {
    return done;
  }
  return {};
}

std::span<const uint8_t> wire_bytes(uint8_t family, const IpAddress& address) {
  const std::span<const uint8_t> all(address.bytes);
  return family == AF_INET ? all.subspan(12) : all;
}

std::string describe(const RouteEntry& route) {
  const std::string to = route.destination
                             ? route.destination->text() + "/" + std::to_string(route.destination_bits)
                             : "default";
  return family_name(route.family) + " route to " + to + " of interface " +
         std::to_string(route.interface_index) + " in table " + std::to_string(route.table);
}

Result<void> change_route(NetlinkSocket& socket, const RouteEntry& route, bool put) {
  // Replacing is atomic: at no moment does a marked connection find no route.
  NetlinkRequest request(put ? RTM_NEWROUTE : RTM_DELROUTE,
                         static_cast<uint16_t>(NLM_F_ACK | (put ? NLM_F_CREATE | NLM_F_REPLACE : 0)));
  auto& body = request.body<rtmsg>();
  body.rtm_family = route.family;
  body.rtm_type = route.type;
  body.rtm_scope = route.scope;
  body.rtm_protocol = route.protocol;
  body.rtm_dst_len = route.destination_bits;
  request.put(RTA_TABLE, route.table).put(RTA_PRIORITY, route.metric);
  if (route.destination) {
    request.put(RTA_DST, wire_bytes(route.family, *route.destination));
  }
  if (route.interface_index != 0) {
    request.put(RTA_OIF, route.interface_index);
  }
  if (route.preferred_source) {
    request.put(RTA_PREFSRC, wire_bytes(route.family, *route.preferred_source));
  }
  return socket.change(request, (put ? "put the " : "delete the ") + describe(route));
}

/// The first IPv4 address of each interface that others can reach; nullopt: none.
std::optional<IpAddress> source_of(const std::vector<InterfaceAddress>& addresses, uint32_t interface_index) {
  for (const InterfaceAddress& entry : addresses) {
    if (entry.interface_index == interface_index && entry.address.is_v4() && !entry.address.is_loopback()) {
      return entry.address;
    }
  }
  return std::nullopt;
}

/// The interface whose address is the pod's: the one of the default route, else the first that has an IPv4
/// address.
uint32_t main_interface(NetlinkSocket& socket, const std::vector<LinkEntry>& links,
                        const std::vector<InterfaceAddress>& addresses) {
  if (auto routes = dump_routes(socket, AF_INET, RT_TABLE_MAIN)) {
    const RouteEntry* best = nullptr;
    for (const RouteEntry& route : *routes) {
      if (route.destination_bits == 0 && route.type == RTN_UNICAST &&
          source_of(addresses, route.interface_index) && (best == nullptr || route.metric < best->metric)) {
        best = &route;
      }
    }
    if (best != nullptr) {
      return best->interface_index;
    }
  }
  for (const LinkEntry& link : links) {
    if (!link.loopback && link.up && source_of(addresses, link.index)) {
      return link.index;
    }
  }
  return 0;
}

RouteEntry wanted_route(uint8_t family, const LinkEntry& link, uint32_t main, uint32_t table,
                        const std::vector<InterfaceAddress>& addresses) {
  RouteEntry route{.family = family,
                   .type = RTN_LOCAL,
                   .scope = static_cast<uint8_t>(family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE),
                   .protocol = kProtocol,
                   .destination_bits = 0,
                   .destination = std::nullopt,
                   .table = table,
                   .metric = link.index,
                   .interface_index = link.index,
                   .preferred_source = std::nullopt};
  if (family == AF_INET) {
    route.preferred_source = source_of(addresses, link.index);
    if (!route.preferred_source) {
      route.preferred_source = source_of(addresses, main);
    }
  }
  return route;
}

class Synchronization {
 public:
  Synchronization(NetlinkSocket& socket, const CaptureRouting& routing, CaptureState& state)
      : socket_(socket), routing_(routing), before_(std::move(state.held)), state_(state) {
    state_.held.clear();
  }

  Result<std::vector<CaptureRepair>> run() {
    auto links = dump_links(socket_);
    auto addresses = dump_addresses(socket_);
    if (!links || !addresses) {
      return std::unexpected(std::move(links ? addresses.error() : links.error()));
    }
    const uint32_t main = main_interface(socket_, *links, *addresses);
    for (const uint8_t family : kFamilies) {
      std::vector<RouteEntry> wanted;
      for (const LinkEntry& link : *links) {
        if (link.up) {
          wanted.push_back(wanted_route(family, link, main, routing_.table, *addresses));
        }
      }
      // Routes first: a rule that leads to an empty table lets traffic through to the next rule.
      for (auto step : {sync_routes(family, wanted, *links), sync_rule(family)}) {
        if (!step) {
          return std::unexpected(std::move(step.error()));
        }
      }
    }
    return std::move(repairs_);
  }

 private:
  Result<void> sync_rule(uint8_t family) {
    auto rules = dump_rules(socket_, family);
    if (!rules) {
      return std::unexpected(std::move(rules.error()));
    }
    const std::string name = family_name(family) + " rule";
    if (std::ranges::any_of(*rules, [&](const RuleEntry& rule) { return is_ours(rule, routing_); })) {
      state_.held.insert(name);
      return {};
    }
    if (rules->empty()) {
      return {};  // this kernel has no such family: even an untouched namespace has three rules
    }
    if (auto added = change_rule(socket_, family, routing_, true); !added) {
      return added;
    }
    done(CaptureRepair::What::rule, name);
    return {};
  }

  Result<void> sync_routes(uint8_t family, const std::vector<RouteEntry>& wanted,
                           const std::vector<LinkEntry>& links) {
    auto found = dump_routes(socket_, family, routing_.table);
    if (!found) {
      return std::unexpected(std::move(found.error()));
    }
    for (const RouteEntry& route : wanted) {
      const auto link = std::ranges::find(links, route.interface_index, &LinkEntry::index);
      const std::string name = family_name(family) + " route of " + link->name;
      if (std::ranges::find(*found, route) != found->end()) {
        state_.held.insert(name);
        continue;
      }
      if (auto added = change_route(socket_, route, true); !added) {
        if (not_here(added.error())) {
          continue;
        }
        return added;
      }
      // Replacing a route of ours by a better one is no loss.
      const bool replaced = std::ranges::any_of(*found, [&](const RouteEntry& old) {
        return old.protocol == kProtocol && old.interface_index == route.interface_index;
      });
      done(CaptureRepair::What::route, name, replaced);
    }
    const bool strangers = std::ranges::any_of(
        *found, [&](const RouteEntry& route) { return std::ranges::find(wanted, route) == wanted.end(); });
    return strangers ? remove_strangers(family, wanted) : Result<void>{};
  }

  /// What is in the table and not wanted: stale (another source, metric or interface), or not ours and so
  /// able to shadow ours.
  Result<void> remove_strangers(uint8_t family, const std::vector<RouteEntry>& wanted) {
    auto found = dump_routes(socket_, family, routing_.table);
    if (!found) {
      return std::unexpected(std::move(found.error()));
    }
    for (const RouteEntry& route : *found) {
      if (std::ranges::find(wanted, route) != wanted.end()) {
        continue;
      }
      auto removed = change_route(socket_, route, false);
      if (!removed && removed.error().error_number != ESRCH && !not_here(removed.error())) {
        return removed;
      }
      if (removed && route.protocol != kProtocol) {
        repairs_.push_back(CaptureRepair{.what = CaptureRepair::What::route,
                                         .detail = describe(route) + ", which is not ours, removed",
                                         .lost = true});
      }
    }
    return {};
  }

  void done(CaptureRepair::What what, const std::string& name, bool replaced = false) {
    repairs_.push_back(
        CaptureRepair{.what = what, .detail = name, .lost = !replaced && before_.contains(name)});
    state_.held.insert(name);
  }

  NetlinkSocket& socket_;
  const CaptureRouting& routing_;
  const std::set<std::string> before_;
  CaptureState& state_;
  std::vector<CaptureRepair> repairs_;
};

}  // namespace

Result<std::vector<CaptureRepair>> sync_capture(NetlinkSocket& socket, const CaptureRouting& routing,
                                                CaptureState& state) {
  return Synchronization(socket, routing, state).run();
}

Result<void> add_capture_routing(int netns_fd, const CaptureRouting& routing) {
  return run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    CaptureState state;
    auto synced = sync_capture(*socket, routing, state);
    if (!synced) {
      return std::unexpected(std::move(synced.error()));
    }
    return {};
  });
}

Result<void> remove_capture_routing(int netns_fd, const CaptureRouting& routing) {
  return run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    for (const uint8_t family : kFamilies) {
      auto rules = dump_rules(*socket, family);
      auto routes = dump_routes(*socket, family, routing.table);
      if (!rules || !routes) {
        return std::unexpected(std::move(rules ? routes.error() : rules.error()));
      }
      // Rules first: while the rule stands, an empty table would send marked connections out in clear.
      for (const RuleEntry& rule : *rules) {
        if (!is_ours(rule, routing)) {
          continue;
        }
        if (auto removed = change_rule(*socket, family, routing, false); !removed) {
          return removed;
        }
      }
      for (const RouteEntry& route : *routes) {
        auto removed = change_route(*socket, route, false);
        if (!removed && removed.error().error_number != ESRCH && !not_here(removed.error())) {
          return removed;
        }
      }
    }
    return {};
  });
}

}  // namespace hadal::net
