#include "native/net/interface_filters.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace hadal::net {
namespace {

// First of all filters of the interface, under a handle that tells it from others of this rank.
constexpr uint32_t kRank = 1;
constexpr uint32_t kHandle = 0x4841;

uint32_t parent_of(FilterSide side) {
  return TC_H_MAKE(TC_H_CLSACT, side == FilterSide::from_interface ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

std::span<const uint8_t> text_bytes(std::string_view terminated) {
  return {reinterpret_cast<const uint8_t*>(terminated.data()), terminated.size() + 1};
}

void describe(tcmsg& body, uint32_t interface_index, FilterSide side) {
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(interface_index);
  body.tcm_handle = kHandle;
  body.tcm_parent = parent_of(side);
  body.tcm_info = TC_H_MAKE(kRank << 16, htons(ETH_P_ALL));
}

/// One attribute as it stands in a message.
size_t append(std::span<uint8_t> out, size_t at, uint16_t type, std::span<const uint8_t> payload) {
  const nlattr head{.nla_len = static_cast<uint16_t>(MNL_ATTR_HDRLEN + payload.size()), .nla_type = type};
  std::memcpy(out.data() + at, &head, sizeof(head));
  std::memcpy(out.data() + at + MNL_ATTR_HDRLEN, payload.data(), payload.size());
  return at + MNL_ALIGN(head.nla_len);
}

size_t append(std::span<uint8_t> out, size_t at, uint16_t type, uint32_t value) {
  return append(out, at, type, {reinterpret_cast<const uint8_t*>(&value), sizeof(value)});
}

const nlattr* find_attribute(const nlattr* first, const char* end, uint16_t type) {
  for (const nlattr* each = first;
       mnl_attr_ok(each, static_cast<int>(end - reinterpret_cast<const char*>(each)));
       each = mnl_attr_next(each)) {
    if (mnl_attr_get_type(each) == type) {
      return each;
    }
  }
  return nullptr;
}

const nlattr* attribute_of(const nlmsghdr* message, uint16_t type) {
  const char* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  return find_attribute(static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(tcmsg))), end,
                        type);
}

std::optional<uint32_t> program_id(const nlmsghdr* message) {
  const nlattr* options = attribute_of(message, TCA_OPTIONS);
  if (options == nullptr) {
    return std::nullopt;
  }
  const auto* first = static_cast<const nlattr*>(mnl_attr_get_payload(options));
  const char* end = reinterpret_cast<const char*>(first) + mnl_attr_get_payload_len(options);
  const nlattr* id = find_attribute(first, end, TCA_BPF_ID);
  return id == nullptr || mnl_attr_get_payload_len(id) < 4 ? std::nullopt
                                                           : std::optional(mnl_attr_get_u32(id));
}

std::string named(uint32_t interface_index) { return "interface " + std::to_string(interface_index); }

/// Where filters of both sides hang. Somebody else's does as well.
Result<void> put_hook(NetlinkSocket& socket, uint32_t interface_index) {
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  auto& body = request.body<tcmsg>();
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(interface_index);
  body.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  body.tcm_parent = TC_H_CLSACT;
  request.put(TCA_KIND, text_bytes("clsact"));
  auto done = socket.change(request, "put the clsact queue of " + named(interface_index));
  return !done && done.error().error_number != EEXIST ? done : Result<void>{};
}

}  // namespace

Result<std::optional<uint32_t>> find_filter(NetlinkSocket& socket, uint32_t interface_index,
                                            FilterSide side) {
  NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP);
  auto& body = request.body<tcmsg>();
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(interface_index);
  body.tcm_parent = parent_of(side);
  std::optional<uint32_t> found;
  auto done = socket.dump(request, "list filters of " + named(interface_index), [&](const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWTFILTER || message->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(tcmsg)) {
      return;
    }
    const auto& filter = *static_cast<const tcmsg*>(mnl_nlmsg_get_payload(message));
    if (filter.tcm_handle == kHandle && TC_H_MAJ(filter.tcm_info) >> 16 == kRank) {
      found = program_id(message);
    }
  });
  // EINVAL: nobody has put a hook there yet.
  if (!done && done.error().error_number != EINVAL && done.error().error_number != ENOENT) {
    return std::unexpected(std::move(done.error()));
  }
  return found;
}

Result<void> put_filter(NetlinkSocket& socket, uint32_t interface_index, FilterSide side, int program_fd) {
  if (auto hook = put_hook(socket, interface_index); !hook) {
    return hook;
  }
  NetlinkRequest request(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  describe(request.body<tcmsg>(), interface_index, side);
  std::array<uint8_t, 64> options{};
  size_t size = append(options, 0, TCA_BPF_FD, static_cast<uint32_t>(program_fd));
  size = append(options, size, TCA_BPF_NAME, text_bytes("hadal"));
  size = append(options, size, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  request.put(TCA_KIND, text_bytes("bpf")).put(TCA_OPTIONS, std::span<const uint8_t>(options).first(size));
  return socket.change(request, "put the filter of " + named(interface_index));
}

Result<void> delete_filter(NetlinkSocket& socket, uint32_t interface_index, FilterSide side) {
  auto found = find_filter(socket, interface_index, side);
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  if (!*found) {
    return {};
  }
  NetlinkRequest request(RTM_DELTFILTER, NLM_F_ACK);
  describe(request.body<tcmsg>(), interface_index, side);
  request.put(TCA_KIND, text_bytes("bpf"));
  auto done = socket.change(request, "delete the filter of " + named(interface_index));
  const bool gone = !done && (done.error().error_number == ENOENT || done.error().error_number == ENODEV ||
                              done.error().error_number == EINVAL);
  return gone ? Result<void>{} : done;
}

bool tells_lost_filter(const nlmsghdr* message) {
  return message->nlmsg_type == RTM_DELTFILTER || message->nlmsg_type == RTM_DELQDISC;
}

}  // namespace hadal::net
