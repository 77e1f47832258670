#include "native/net/inet_diag.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "native/net/netns_visit.h"
#include "native/net/rtnetlink.h"

namespace hadal::net {
namespace {

IpAddress address_of(uint8_t family, const __be32* words) {
  if (family == AF_INET) {
    in_addr v4{};
    std::memcpy(&v4, words, sizeof(v4));
    return IpAddress::from_v4(v4);
  }
  in6_addr v6{};
  std::memcpy(&v6, words, sizeof(v6));
  return IpAddress::from_v6(v6);  // a mapped address becomes IPv4
}

TcpSocketEntry parse(const nlmsghdr* message) {
  const auto& body = *static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  TcpSocketEntry entry{
      .state = body.idiag_state,
      .local = {address_of(body.idiag_family, body.id.idiag_src), ntohs(body.id.idiag_sport)},
      .remote = {address_of(body.idiag_family, body.id.idiag_dst), ntohs(body.id.idiag_dport)},
      .uid = body.idiag_uid,
      .inode = body.idiag_inode,
      .interface_index = body.id.idiag_if,
      .cookie = body.id.idiag_cookie[0] | (uint64_t{body.id.idiag_cookie[1]} << 32)};
  entry.family = body.idiag_family == AF_INET || entry.remote.address.is_v4() ? 4 : 6;
  const char* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  const auto* attribute =
      static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(inet_diag_msg)));
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    if (mnl_attr_get_type(attribute) == INET_DIAG_MARK) {
      entry.mark = mnl_attr_get_u32(attribute);
    }
  }
  return entry;
}

void put_address(uint8_t family, const IpAddress& address, __be32* words) {
  if (family == AF_INET) {
    std::memcpy(words, address.bytes.data() + 12, 4);
  } else {
    std::memcpy(words, address.bytes.data(), 16);
  }
}

}  // namespace

Result<std::vector<TcpSocketEntry>> tcp_sockets(int netns_fd, uint32_t states) {
  std::vector<TcpSocketEntry> out;
  auto done = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
      NetlinkRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
      auto& body = request.body<inet_diag_req_v2>();
      body.sdiag_family = family;
      body.sdiag_protocol = IPPROTO_TCP;
      body.idiag_states = states;
      auto dumped = socket->dump(request, "list TCP sockets", [&](const nlmsghdr* message) {
        if (message->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(inet_diag_msg)) {
          out.push_back(parse(message));
        }
      });
      if (!dumped && dumped.error().error_number != ENOENT) {
        return dumped;  // ENOENT: no such family
      }
    }
    return {};
  });
  if (!done) {
    return std::unexpected(std::move(done.error()));
  }
  return out;
}

Result<bool> destroy_tcp_socket(int netns_fd, const TcpSocketEntry& entry) {
  const std::string what = "destroy TCP socket " + entry.local.text() + " to " + entry.remote.text();
  bool gone = false;
  auto done = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    Result<void> last;
    // A dual-stack socket that carries IPv4 is found under either family; the cookie keeps the choice exact.
    const bool v4 = entry.local.address.is_v4();
    for (const uint8_t family : {static_cast<uint8_t>(v4 ? AF_INET : AF_INET6), uint8_t{AF_INET6}}) {
      NetlinkRequest request(SOCK_DESTROY, NLM_F_ACK);
      auto& body = request.body<inet_diag_req_v2>();
      body.sdiag_family = family;
      body.sdiag_protocol = IPPROTO_TCP;
      body.idiag_states = kAllTcpStates;
      body.id.idiag_sport = htons(entry.local.port);
      body.id.idiag_dport = htons(entry.remote.port);
      body.id.idiag_if = entry.interface_index;
      body.id.idiag_cookie[0] = static_cast<uint32_t>(entry.cookie);
      body.id.idiag_cookie[1] = static_cast<uint32_t>(entry.cookie >> 32);
      put_address(family, entry.local.address, body.id.idiag_src);
      put_address(family, entry.remote.address, body.id.idiag_dst);
      last = socket->change(request, what);
      if (last || last.error().error_number != ENOENT) {
        return last;
      }
    }
    gone = true;
    return {};
  });
  if (!done) {
    if (done.error().error_number == ESTALE) {
      return false;  // the tuple is another socket's by now
    }
    if (done.error().error_number == EOPNOTSUPP) {
      done.error().message += " (the kernel lacks CONFIG_INET_DIAG_DESTROY)";
    }
    return std::unexpected(std::move(done.error()));
  }
  return !gone;
}

}  // namespace hadal::net
