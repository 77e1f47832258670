#include "native/net/rtnetlink_capture.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "native/net/capture_routes.h"
#include "native/net/netns_visit.h"
#include "native/net/virtual_interfaces.h"

namespace hadal::net {
namespace {

constexpr uint8_t kFamilies[] = {AF_INET, AF_INET6};

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
      const size_t before = repairs_.size();
      for (auto step : {sync_routes(family, wanted, *links), sync_rule(family)}) {
        if (!step) {
          return std::unexpected(std::move(step.error()));
        }
      }
      // A rule that was put back came last, and has done it.
      if (family == AF_INET6 && repairs_.size() > before &&
          repairs_.back().what == CaptureRepair::What::route) {
        if (auto forgotten = forget_cached_routes(family); !forgotten) {
          return std::unexpected(std::move(forgotten.error()));
        }
      }
    }
    return std::move(repairs_);
  }

 private:
  /// A socket keeps an IPv6 route that it found in another table for as long as that one stands, whatever
  /// comes into ours: only a change of rules makes it look again.
  Result<void> forget_cached_routes(uint8_t family) {
    CaptureRouting beside = routing_;
    ++beside.priority;
    if (auto added = change_rule(socket_, family, beside, true); !added) {
      return added;
    }
    return change_rule(socket_, family, beside, false);
  }

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
        return old.protocol == kCaptureProtocol && old.interface_index == route.interface_index;
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
      if (removed && route.protocol != kCaptureProtocol) {
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
    // Before the table goes to which their packets are led.
    CaptureState state;
    std::vector<CaptureRepair> repairs;
    if (auto gone = sync_virtual_interfaces(*socket, routing, {}, state, repairs); !gone) {
      return std::unexpected(std::move(gone.error()));
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
