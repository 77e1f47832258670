#include "native/net/rtnetlink.h"

#include <libmnl/libmnl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace hadal::net {
namespace {

constexpr size_t kRequestBytes = 512;
// What libmnl recommends for dumps: one message of the kernel is at most this.
constexpr size_t kAnswerBytes = 32 << 10;
constexpr int kDumpAttempts = 5;
// The kernel answers at once; this only keeps a bug from hanging a thread.
constexpr timeval kAnswerTimeout = {.tv_sec = 5, .tv_usec = 0};

#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif

using AnswerBuffer = std::array<char, kAnswerBytes>;

}  // namespace

NetlinkRequest::NetlinkRequest(uint16_t type, uint16_t flags)
    : memory_(kRequestBytes / sizeof(uint64_t)), header_(mnl_nlmsg_put_header(memory_.data())) {
  header_->nlmsg_type = type;
  header_->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
}

void* NetlinkRequest::extra(size_t size) { return mnl_nlmsg_put_extra_header(header_, size); }

NetlinkRequest& NetlinkRequest::put(uint16_t attribute, uint32_t value) {
  mnl_attr_put_u32(header_, attribute, value);
  return *this;
}

NetlinkRequest& NetlinkRequest::put(uint16_t attribute, std::span<const uint8_t> bytes) {
  mnl_attr_put(header_, attribute, bytes.size(), bytes.data());
  return *this;
}

void NetlinkSocket::Close::operator()(mnl_socket* socket) const { mnl_socket_close(socket); }

Result<NetlinkSocket> NetlinkSocket::open(int protocol, std::span<const uint32_t> groups) {
  NetlinkSocket socket(mnl_socket_open2(protocol, SOCK_CLOEXEC));
  if (socket.socket_ == nullptr || mnl_socket_bind(socket.socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return system_failure("ERR_NET_NETLINK", "cannot open a netlink socket", "socket(AF_NETLINK)", errno);
  }
  // Without strict checking (4.20) the kernel ignores the filters of a dump; older ones just send more.
  int on = 1;
  mnl_socket_setsockopt(socket.socket_.get(), NETLINK_GET_STRICT_CHK, &on, sizeof(on));
  setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout));
  for (uint32_t group : groups) {
    if (mnl_socket_setsockopt(socket.socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
      return system_failure("ERR_NET_NETLINK", "cannot subscribe to netlink group " + std::to_string(group),
                            "setsockopt(NETLINK_ADD_MEMBERSHIP)", errno);
    }
  }
  return socket;
}

int NetlinkSocket::fd() const { return mnl_socket_get_fd(socket_.get()); }

Result<void> NetlinkSocket::exchange(const NetlinkRequest& request, const std::string& what,
                                     const std::function<void(const nlmsghdr*)>& visit, bool& interrupted) {
  const uint32_t sequence = ++sequence_;
  request.header()->nlmsg_seq = sequence;
  if (mnl_socket_sendto(socket_.get(), request.header(), request.header()->nlmsg_len) < 0) {
    return system_failure("ERR_NET_NETLINK", "cannot " + what, "sendto(netlink)", errno);
  }
  AnswerBuffer buffer;
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) {
      continue;
    }
    if (length < 0) {
      return system_failure("ERR_NET_NETLINK", "cannot " + what, "recvfrom(netlink)", errno);
    }
    int left = static_cast<int>(length);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_seq != sequence) {
        continue;  // the rest of a request that was given up
      }
      interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (message->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
        if (error->error == 0) {
          return {};
        }
        return system_failure("ERR_NET_NETLINK", "cannot " + what, "rtnetlink", -error->error);
      }
      if (message->nlmsg_type == NLMSG_DONE) {
        return {};
      }
      visit(message);
    }
  }
}

Result<void> NetlinkSocket::change(const NetlinkRequest& request, const std::string& what) {
  bool interrupted = false;
  return exchange(
      request, what, [](const nlmsghdr*) {}, interrupted);
}

Result<void> NetlinkSocket::dump(const NetlinkRequest& request, const std::string& what,
                                 const std::function<void(const nlmsghdr*)>& visit) {
  for (int attempt = 0;; ++attempt) {
    bool interrupted = false;
    std::vector<std::vector<uint64_t>> answers;  // handed out only when the dump was consistent
    auto done = exchange(
        request, what,
        [&](const nlmsghdr* message) {
          auto& copy = answers.emplace_back((message->nlmsg_len + 7) / 8);
          std::memcpy(copy.data(), message, message->nlmsg_len);
        },
        interrupted);
    if (!done) {
      return done;
    }
    if (interrupted && attempt + 1 < kDumpAttempts) {
      continue;
    }
    for (const auto& answer : answers) {
      visit(reinterpret_cast<const nlmsghdr*>(answer.data()));
    }
    return {};
  }
}

Result<NetlinkSocket::Drained> NetlinkSocket::drain(const std::function<void(const nlmsghdr*)>& visit) {
  AnswerBuffer buffer;
  Drained drained = Drained::all;
  for (;;) {
    const ssize_t length = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (length < 0) {
      if (errno == EAGAIN) {
        return drained;
      }
      if (errno == EINTR) {
        continue;
      }
      if (errno == ENOBUFS) {
        drained = Drained::lost;
        continue;
      }
      return system_failure("ERR_NET_NETLINK", "cannot read netlink events", "recv(netlink)", errno);
    }
    int left = static_cast<int>(length);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      visit(message);
    }
  }
}

Result<NetlinkSocket> open_route_socket() { return NetlinkSocket::open(NETLINK_ROUTE); }

}  // namespace hadal::net
