#include "native/net/socket.h"

#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>

#include <cerrno>

namespace hadal::net {
namespace {

constexpr int kBacklog = 4096;

Result<UniqueFd> listen_failure(const std::string& step, const char* system_call) {
  return system_failure("ERR_TUNNEL_POD", step + " for a listener in the pod", system_call, errno);
}

}  // namespace

UniqueFd open_tcp_socket(int family) {
  return UniqueFd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
}

bool set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

void choose_port_at_connect(int fd) { set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); }

void set_keepalive(int fd) {
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 180);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 180);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
}

bool set_congestion_control(int fd, const std::string& name) {
  return name.empty() ||
         setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0;
}

void reset_on_close(int fd) {
  const linger abortive{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
}

bool exempt_from_capture(int map_fd, int socket_fd) {
  if (map_fd < 0) {
    return true;
  }
  const uint32_t exempt = 1;
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map_fd);
  attributes.key = reinterpret_cast<uint64_t>(&socket_fd);
  attributes.value = reinterpret_cast<uint64_t>(&exempt);
  attributes.flags = BPF_ANY;
  return syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attributes, sizeof(attributes)) == 0;
}

std::optional<SocketAddress> local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return std::nullopt;
  }
  return SocketAddress::from_sockaddr(storage);
}

std::optional<SocketAddress> peer_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return std::nullopt;
  }
  return SocketAddress::from_sockaddr(storage);
}

int pending_error(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

PathQuality path_quality(int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
    return {};
  }
  return {.rtt_us = info.tcpi_rtt, .retransmits = info.tcpi_total_retrans};
}

Result<UniqueFd> open_transparent_listener(const std::string& congestion_control) {
  UniqueFd fd = open_tcp_socket(AF_INET6);
  const bool dual_stack = fd.valid() && set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (!dual_stack) {
    fd = open_tcp_socket(AF_INET);
  }
  if (!fd.valid()) {
    return listen_failure("create a socket", "socket");
  }
  const bool transparent = dual_stack ? set_option(fd.get(), IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                                      : set_option(fd.get(), IPPROTO_IP, IP_TRANSPARENT, 1);
  if (!transparent) {
    return listen_failure("set IP_TRANSPARENT (needs CAP_NET_ADMIN)", "setsockopt");
  }
  // Accepted sockets inherit these.
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set_keepalive(fd.get());
  if (!set_congestion_control(fd.get(), congestion_control)) {
    return listen_failure("set congestion control '" + congestion_control + "'", "setsockopt");
  }
  const SocketAddress any = dual_stack ? SocketAddress{} : SocketAddress{*IpAddress::parse("0.0.0.0"), 0};
  const Sockaddr address(any);
  if (bind(fd.get(), address.get(), address.length) != 0) {
    return listen_failure("bind", "bind");
  }
  // What is accepted has the application's port, and inherits this: else an application that restarts finds
  // its port in use. Set after bind(), which would otherwise share our own port.
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (listen(fd.get(), kBacklog) != 0) {
    return listen_failure("listen", "listen");
  }
  return fd;
}

}  // namespace hadal::net
