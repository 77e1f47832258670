#include "native/net/virtual_interfaces.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>

#include "native/net/capture_routes.h"
#include "native/net/interface_filters.h"
#include "native/net/netns_visit.h"
#include "native/net/rtnetlink_dump.h"

namespace hadal::net {
namespace {

constexpr uint8_t kFamilies[] = {AF_INET, AF_INET6};
// Behind the capture's own, and the one beside it that comes and goes.
constexpr uint32_t kHoldBehind = 2;

/// One that leads to the table, or holds back.
struct InterfaceRule {
  std::string name;
  bool holds = false;
  friend bool operator==(const InterfaceRule&, const InterfaceRule&) = default;
};

std::string describe(uint8_t family, const InterfaceRule& rule) {
  return family_name(family) + (rule.holds ? " rule that holds " : " rule of ") + rule.name;
}

bool is_of_interface(const RuleEntry& rule) {
  return rule.protocol == kCaptureProtocol && !rule.incoming_interface.empty();
}

InterfaceRule read_rule(const RuleEntry& rule) {
  return {.name = rule.incoming_interface, .holds = rule.action != FR_ACT_TO_TBL};
}

std::span<const uint8_t> one_byte(const uint8_t& value) { return {&value, 1}; }

std::span<const uint8_t> text_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.c_str()), text.size() + 1};
}

Result<void> change_interface_rule(NetlinkSocket& socket, uint8_t family, const CaptureRouting& routing,
                                   uint32_t mark, const InterfaceRule& rule, bool add) {
  NetlinkRequest request(add ? RTM_NEWRULE : RTM_DELRULE,
                         static_cast<uint16_t>(NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0)));
  auto& body = request.body<fib_rule_hdr>();
  body.family = family;
  body.action = rule.holds ? FR_ACT_BLACKHOLE : FR_ACT_TO_TBL;
  const uint8_t tcp = IPPROTO_TCP;
  const uint8_t protocol = kCaptureProtocol;
  request.put(FRA_IIFNAME, text_bytes(rule.name))
      .put(FRA_PRIORITY, routing.priority + (rule.holds ? kHoldBehind : 0))
      .put(FRA_PROTOCOL, one_byte(protocol));
  if (rule.holds) {
    request.put(FRA_IP_PROTO, one_byte(tcp));
  } else {
    if (mark != 0) {
      request.put(FRA_FWMARK, mark).put(FRA_FWMASK, routing.mask);
    }
    request.put(FRA_TABLE, routing.table);
  }
  auto done = socket.change(request, (add ? "add the " : "delete the ") + describe(family, rule));
  const int benign = add ? EEXIST : ENOENT;
  return !done && done.error().error_number != benign && !not_here(done.error()) ? done : Result<void>{};
}

class InterfaceSynchronization {
 public:
  InterfaceSynchronization(NetlinkSocket& socket, const CaptureRouting& routing,
                           const VirtualInterfaces& wanted, CaptureState& state,
                           std::vector<CaptureRepair>& repairs)
      : socket_(socket),
        routing_(routing),
        wanted_(wanted),
        before_(std::move(state.held_interfaces)),
        state_(state),
        repairs_(repairs) {
    state_.held_interfaces.clear();
  }

  Result<std::vector<InterfaceState>> run() {
    auto links = dump_links(socket_);
    if (!links) {
      return std::unexpected(std::move(links.error()));
    }
    auto uplinks = find_uplinks();
    if (!uplinks) {
      return std::unexpected(std::move(uplinks.error()));
    }
    std::vector<InterfaceState> out;
    for (const std::string& name : wanted_.names) {
      const auto link = std::ranges::find(*links, name, &LinkEntry::name);
      out.push_back(link == links->end() ? InterfaceState{.name = name, .problem = {}}
                                         : take(*link, uplinks->contains(link->index)));
    }
    // What there should be comes before what should not: no packet finds neither.
    const std::vector<InterfaceRule> rules = wanted_rules(out);
    for (const Step step : {&InterfaceSynchronization::add_rules, &InterfaceSynchronization::delete_rules}) {
      if (auto done = for_each_family(step, rules); !done) {
        return std::unexpected(std::move(done.error()));
      }
    }
    for (const LinkEntry& link : *links) {
      const auto state = std::ranges::find(out, link.name, &InterfaceState::name);
      if (state == out.end() || state->standing == InterfaceStanding::uplink) {
        if (auto done = let_go(link); !done) {
          return std::unexpected(std::move(done.error()));
        }
      }
    }
    return out;
  }

 private:
  /// Without its program an interface sends no TCP.
  static std::vector<InterfaceRule> wanted_rules(const std::vector<InterfaceState>& states) {
    std::vector<InterfaceRule> out;
    for (const InterfaceState& state : states) {
      if (state.standing == InterfaceStanding::uplink) {
        continue;
      }
      out.push_back({.name = state.name, .holds = false});
      if (state.standing == InterfaceStanding::missing || state.standing == InterfaceStanding::failed) {
        out.push_back({.name = state.name, .holds = true});
      }
    }
    return out;
  }

  using Step = Result<void> (InterfaceSynchronization::*)(uint8_t, const std::vector<InterfaceRule>&,
                                                          const std::vector<RuleEntry>&);
  Result<void> for_each_family(Step step, const std::vector<InterfaceRule>& rules) {
    for (const uint8_t family : kFamilies) {
      auto found = dump_rules(socket_, family);
      if (!found) {
        return std::unexpected(std::move(found.error()));
      }
      // Even an untouched namespace has three rules of a family that the kernel has.
      if (found->empty()) {
        continue;
      }
      if (auto done = (this->*step)(family, rules, *found); !done) {
        return done;
      }
    }
    return {};
  }

  Result<void> add_rules(uint8_t family, const std::vector<InterfaceRule>& rules,
                         const std::vector<RuleEntry>& found) {
    for (const InterfaceRule& rule : rules) {
      const bool stands = std::ranges::any_of(
          found, [&](const RuleEntry& entry) { return is_of_interface(entry) && read_rule(entry) == rule; });
      if (!stands) {
        if (auto added = change_interface_rule(socket_, family, routing_, wanted_.mark, rule, true); !added) {
          return added;
        }
      }
      note(CaptureRepair::What::rule, describe(family, rule), stands);
    }
    return {};
  }

  Result<void> delete_rules(uint8_t family, const std::vector<InterfaceRule>& rules,
                            const std::vector<RuleEntry>& found) {
    for (const RuleEntry& entry : found) {
      if (!is_of_interface(entry) || std::ranges::find(rules, read_rule(entry)) != rules.end()) {
        continue;
      }
      if (auto deleted =
              change_interface_rule(socket_, family, routing_, entry.mark, read_rule(entry), false);
          !deleted) {
        return deleted;
      }
    }
    return {};
  }

  /// Interfaces by which default routes lead.
  Result<std::set<uint32_t>> find_uplinks() {
    std::set<uint32_t> out;
    for (const uint8_t family : kFamilies) {
      auto routes = dump_routes(socket_, family, RT_TABLE_MAIN);
      if (!routes) {
        return std::unexpected(std::move(routes.error()));
      }
      for (const RouteEntry& route : *routes) {
        if (route.destination_bits == 0 && route.type == RTN_UNICAST) {
          out.insert(route.interface_index);
        }
      }
    }
    return out;
  }

  InterfaceState take(const LinkEntry& link, bool is_uplink) {
    if (is_uplink) {
      return {.name = link.name, .index = link.index, .standing = InterfaceStanding::uplink, .problem = {}};
    }
    const bool is_port = link.master != 0;
    const InterfacePrograms& programs = *wanted_.programs;
    const InterfaceProgram& from = is_port ? programs.refuse : programs.from_machine;
    InterfaceState state{.name = link.name,
                         .index = link.index,
                         .standing = is_port ? InterfaceStanding::port : InterfaceStanding::captured,
                         .problem = {}};
    for (auto& done : {put(link, FilterSide::to_interface, programs.to_machine),
                       put(link, FilterSide::from_interface, from)}) {
      if (!done && !not_here(done.error())) {
        state.standing = InterfaceStanding::failed;
        state.problem = done.error().message;
      }
    }
    return state;
  }

  Result<void> put(const LinkEntry& link, FilterSide side, const InterfaceProgram& program) {
    auto found = find_filter(socket_, link.index, side);
    if (!found) {
      return std::unexpected(std::move(found.error()));
    }
    if (*found != program.id) {
      if (auto done = put_filter(socket_, link.index, side, program.fd.get()); !done) {
        return done;
      }
    }
    // Replacing another program is no loss.
    note(CaptureRepair::What::filter,
         (side == FilterSide::from_interface ? "filter from " : "filter towards ") + link.name +
             " (interface " + std::to_string(link.index) + ")",
         found->has_value());
    return {};
  }

  Result<void> let_go(const LinkEntry& link) {
    for (const FilterSide side : {FilterSide::from_interface, FilterSide::to_interface}) {
      if (auto done = delete_filter(socket_, link.index, side); !done && !not_here(done.error())) {
        return done;
      }
    }
    return {};
  }

  void note(CaptureRepair::What what, std::string name, bool stood) {
    state_.held_interfaces.insert(name);
    if (!stood && before_.contains(name)) {
      repairs_.push_back(CaptureRepair{.what = what, .detail = std::move(name), .lost = true});
    }
  }

  NetlinkSocket& socket_;
  const CaptureRouting& routing_;
  const VirtualInterfaces& wanted_;
  const std::set<std::string> before_;
  CaptureState& state_;
  std::vector<CaptureRepair>& repairs_;
};

}  // namespace

Result<std::vector<InterfaceState>> sync_virtual_interfaces(NetlinkSocket& socket,
                                                            const CaptureRouting& routing,
                                                            const VirtualInterfaces& wanted,
                                                            CaptureState& state,
                                                            std::vector<CaptureRepair>& repairs) {
  return InterfaceSynchronization(socket, routing, wanted, state, repairs).run();
}

Result<std::vector<InterfaceState>> capture_interfaces(int netns_fd, const CaptureRouting& routing,
                                                       const VirtualInterfaces& wanted) {
  std::vector<InterfaceState> states;
  auto done = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    CaptureState state;
    std::vector<CaptureRepair> repairs;
    auto synced = sync_virtual_interfaces(*socket, routing, wanted, state, repairs);
    if (!synced) {
      return std::unexpected(std::move(synced.error()));
    }
    states = std::move(*synced);
    return {};
  });
  if (!done) {
    return std::unexpected(std::move(done.error()));
  }
  return states;
}

}  // namespace hadal::net
