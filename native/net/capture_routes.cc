#include "native/net/capture_routes.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <optional>
#include <span>

namespace hadal::net {
namespace {

std::span<const uint8_t> wire_bytes(uint8_t family, const IpAddress& address) {
  const std::span<const uint8_t> all(address.bytes);
  return family == AF_INET ? all.subspan(12) : all;
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

}  // namespace

std::string family_name(uint8_t family) { return family == AF_INET ? "IPv4" : "IPv6"; }

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
                   .protocol = kCaptureProtocol,
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

}  // namespace hadal::net
