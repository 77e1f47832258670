#include "native/net/rtnetlink_dump.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>

namespace hadal::net {
namespace {

constexpr size_t kMaxAttribute = 64;
/// NETNSA_NSID_NOT_ASSIGNED
constexpr uint32_t kNoNumber = 0xffffffff;

/// The attributes of one message by their type.
class Attributes {
 public:
  Attributes(const nlmsghdr* message, size_t body_size) {
    read(mnl_nlmsg_get_payload_offset(message, body_size), mnl_nlmsg_get_payload_tail(message));
  }

  [[nodiscard]] bool has(uint16_t type) const { return all_[type] != nullptr; }
  [[nodiscard]] uint32_t u32(uint16_t type, uint32_t otherwise) const {
    return has(type) && mnl_attr_get_payload_len(all_[type]) >= 4 ? mnl_attr_get_u32(all_[type]) : otherwise;
  }
  [[nodiscard]] std::optional<uint32_t> optional_u32(uint16_t type) const {
    return has(type) ? std::optional(u32(type, 0)) : std::nullopt;
  }
  [[nodiscard]] uint8_t u8(uint16_t type, uint8_t otherwise) const {
    return has(type) && mnl_attr_get_payload_len(all_[type]) >= 1 ? mnl_attr_get_u8(all_[type]) : otherwise;
  }
  [[nodiscard]] std::optional<IpAddress> address(uint16_t type) const {
    if (!has(type)) {
      return std::nullopt;
    }
    const void* payload = mnl_attr_get_payload(all_[type]);
    switch (mnl_attr_get_payload_len(all_[type])) {
      case sizeof(in_addr): {
        in_addr v4{};
        std::memcpy(&v4, payload, sizeof(v4));
        return IpAddress::from_v4(v4);
      }
      case sizeof(in6_addr): {
        in6_addr v6{};
        std::memcpy(&v6, payload, sizeof(v6));
        return IpAddress::from_v6(v6);
      }
      default:
        return std::nullopt;
    }
  }
  [[nodiscard]] std::string text(uint16_t type) const {
    if (!has(type)) {
      return {};
    }
    const char* payload = static_cast<const char*>(mnl_attr_get_payload(all_[type]));
    return {payload, strnlen(payload, mnl_attr_get_payload_len(all_[type]))};
  }
  /// The text of one of the attributes that an attribute holds.
  [[nodiscard]] std::string nested_text(uint16_t type, uint16_t inner) const {
    if (!has(type)) {
      return {};
    }
    Attributes nested;
    nested.read(mnl_attr_get_payload(all_[type]), static_cast<const char*>(mnl_attr_get_payload(all_[type])) +
                                                      mnl_attr_get_payload_len(all_[type]));
    return nested.text(inner);
  }

 private:
  Attributes() = default;

  void read(const void* first, const void* end) {
    // Not mnl_attr_for_each: the macro is C.
    const auto* attribute = static_cast<const nlattr*>(first);
    for (; mnl_attr_ok(attribute, static_cast<int>(static_cast<const char*>(end) -
                                                   reinterpret_cast<const char*>(attribute)));
         attribute = mnl_attr_next(attribute)) {
      const uint16_t type = mnl_attr_get_type(attribute);
      if (type < kMaxAttribute) {
        all_[type] = attribute;
      }
    }
  }

  std::array<const nlattr*, kMaxAttribute> all_{};
};

template <typename Body>
const Body& body_of(const nlmsghdr* message) {
  return *static_cast<const Body*>(mnl_nlmsg_get_payload(message));
}

template <typename Body>
bool is(const nlmsghdr* message, uint16_t type) {
  return message->nlmsg_type == type && message->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(Body);
}

/// Errors that mean "this kernel or namespace has no such family".
bool means_no_family(const Failure& failure) {
  return failure.error_number == EAFNOSUPPORT || failure.error_number == EOPNOTSUPP;
}

}  // namespace

Result<std::vector<LinkEntry>> dump_links(NetlinkSocket& socket) {
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP);
  request.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  std::vector<LinkEntry> out;
  auto done = socket.dump(request, "list interfaces", [&](const nlmsghdr* message) {
    if (!is<ifinfomsg>(message, RTM_NEWLINK)) {
      return;
    }
    const auto& body = body_of<ifinfomsg>(message);
    const Attributes attributes(message, sizeof(ifinfomsg));
    out.push_back(LinkEntry{.index = static_cast<uint32_t>(body.ifi_index),
                            .name = attributes.text(IFLA_IFNAME),
                            .up = (body.ifi_flags & IFF_UP) != 0,
                            .loopback = (body.ifi_flags & IFF_LOOPBACK) != 0,
                            .master = attributes.u32(IFLA_MASTER, 0),
                            .kind = attributes.nested_text(IFLA_LINKINFO, IFLA_INFO_KIND),
                            .peer = attributes.u32(IFLA_LINK, 0),
                            .peer_namespace = attributes.optional_u32(IFLA_LINK_NETNSID)});
  });
  if (!done) {
    return std::unexpected(std::move(done.error()));
  }
  return out;
}

Result<std::optional<uint32_t>> namespace_number(NetlinkSocket& socket, int netns_fd) {
  NetlinkRequest request(RTM_GETNSID, NLM_F_ACK);
  request.body<rtgenmsg>().rtgen_family = AF_UNSPEC;
  request.put(NETNSA_FD, static_cast<uint32_t>(netns_fd));
  std::optional<uint32_t> number;
  auto done = socket.dump(request, "number a network namespace", [&](const nlmsghdr* message) {
    if (!is<rtgenmsg>(message, RTM_NEWNSID)) {
      return;
    }
    const uint32_t told = Attributes(message, sizeof(rtgenmsg)).u32(NETNSA_NSID, kNoNumber);
    if (told != kNoNumber) {
      number = told;
    }
  });
  if (!done) {
    return std::unexpected(std::move(done.error()));
  }
  return number;
}

Result<std::vector<InterfaceAddress>> dump_addresses(NetlinkSocket& socket) {
  auto links = dump_links(socket);
  if (!links) {
    return std::unexpected(std::move(links.error()));
  }
  std::map<uint32_t, std::string> names;
  for (const LinkEntry& link : *links) {
    names[link.index] = link.name;
  }
  NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP);
  request.body<ifaddrmsg>().ifa_family = AF_UNSPEC;
  std::vector<InterfaceAddress> out;
  auto done = socket.dump(request, "list addresses", [&](const nlmsghdr* message) {
    if (!is<ifaddrmsg>(message, RTM_NEWADDR)) {
      return;
    }
    const auto& body = body_of<ifaddrmsg>(message);
    const Attributes attributes(message, sizeof(ifaddrmsg));
    // Of a point-to-point IPv4 address IFA_ADDRESS is the peer, IFA_LOCAL ours; IPv6 has only the former as a
    // rule.
    const auto address =
        attributes.has(IFA_LOCAL) ? attributes.address(IFA_LOCAL) : attributes.address(IFA_ADDRESS);
    const uint32_t flags = attributes.u32(IFA_FLAGS, body.ifa_flags);
    const bool usable =
        (flags & IFA_F_DADFAILED) == 0 && ((flags & IFA_F_TENTATIVE) == 0 || (flags & IFA_F_OPTIMISTIC));
    if (!address || !usable) {
      return;
    }
    out.push_back(InterfaceAddress{.interface_name = names[body.ifa_index],
                                   .interface_index = body.ifa_index,
                                   .address = *address,
                                   .prefix_length = body.ifa_prefixlen});
  });
  if (!done) {
    return std::unexpected(std::move(done.error()));
  }
  return out;
}

std::optional<RuleEntry> parse_rule(const nlmsghdr* message) {
  if (!is<fib_rule_hdr>(message, RTM_NEWRULE) && !is<fib_rule_hdr>(message, RTM_DELRULE)) {
    return std::nullopt;
  }
  const auto& body = body_of<fib_rule_hdr>(message);
  const Attributes attributes(message, sizeof(fib_rule_hdr));
  return RuleEntry{.family = body.family,
                   .mark = attributes.u32(FRA_FWMARK, 0),
                   .mask = attributes.u32(FRA_FWMASK, 0),
                   .table = attributes.u32(FRA_TABLE, body.table),
                   .priority = attributes.u32(FRA_PRIORITY, 0),
                   .action = body.action,
                   .protocol = attributes.u8(FRA_PROTOCOL, 0),
                   .incoming_interface = attributes.text(FRA_IIFNAME),
                   .by_mark_alone = body.action == FR_ACT_TO_TBL && body.src_len == 0 && body.dst_len == 0 &&
                                    body.tos == 0 && (body.flags & FIB_RULE_INVERT) == 0 &&
                                    !attributes.has(FRA_IIFNAME) && !attributes.has(FRA_OIFNAME) &&
                                    !attributes.has(FRA_UID_RANGE) && !attributes.has(FRA_IP_PROTO) &&
                                    !attributes.has(FRA_SPORT_RANGE) && !attributes.has(FRA_DPORT_RANGE)};
}

Result<std::vector<RuleEntry>> dump_rules(NetlinkSocket& socket, uint8_t family) {
  NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP);
  request.body<fib_rule_hdr>().family = family;
  std::vector<RuleEntry> out;
  auto done = socket.dump(request, "list routing rules", [&](const nlmsghdr* message) {
    // A kernel without IPv6 answers with the rules of every family it has.
    if (auto rule = parse_rule(message); rule && rule->family == family) {
      out.push_back(*rule);
    }
  });
  if (!done && !means_no_family(done.error())) {
    return std::unexpected(std::move(done.error()));
  }
  return out;
}

std::optional<RouteEntry> parse_route(const nlmsghdr* message) {
  if (!is<rtmsg>(message, RTM_NEWROUTE) && !is<rtmsg>(message, RTM_DELROUTE)) {
    return std::nullopt;
  }
  const auto& body = body_of<rtmsg>(message);
  if ((body.rtm_flags & RTM_F_CLONED) != 0) {
    return std::nullopt;  // a cached exception of IPv6, not a route
  }
  const Attributes attributes(message, sizeof(rtmsg));
  return RouteEntry{.family = body.rtm_family,
                    .type = body.rtm_type,
                    .scope = body.rtm_scope,
                    .protocol = body.rtm_protocol,
                    .destination_bits = body.rtm_dst_len,
                    .destination = body.rtm_dst_len == 0 ? std::nullopt : attributes.address(RTA_DST),
                    .table = attributes.u32(RTA_TABLE, body.rtm_table),
                    .metric = attributes.u32(RTA_PRIORITY, 0),
                    .interface_index = attributes.u32(RTA_OIF, 0),
                    .preferred_source = attributes.address(RTA_PREFSRC)};
}

Result<std::vector<RouteEntry>> dump_routes(NetlinkSocket& socket, uint8_t family, uint32_t table) {
  NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP);
  auto& body = request.body<rtmsg>();
  body.rtm_family = family;
  body.rtm_table = RT_TABLE_UNSPEC;
  request.put(RTA_TABLE, table);
  std::vector<RouteEntry> out;
  auto done =
      socket.dump(request, "list routes of table " + std::to_string(table), [&](const nlmsghdr* message) {
        if (auto route = parse_route(message); route && route->family == family && route->table == table) {
          out.push_back(*route);
        }
      });
  // ENOENT: a table that nobody has used yet.
  if (!done && !means_no_family(done.error()) && done.error().error_number != ENOENT) {
    return std::unexpected(std::move(done.error()));
  }
  return out;
}

}  // namespace hadal::net
