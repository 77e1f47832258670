#include "native/net/pod_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "native/net/netns_visit.h"
#include "native/net/socket.h"

namespace hadal::net {
namespace {

constexpr int kBacklog = 128;

std::unexpected<Failure> failed(const std::string& step, const char* system_call) {
  return system_failure("ERR_NET_POD_SOCKET", step + " in the pod's network namespace", system_call, errno);
}

Result<void> prepare(int fd, const PodSocketRequest& request) {
  if (!exempt_from_capture(request.exempt_map_fd, fd)) {
    return failed("exempt a socket of the agent from capture", "bpf");
  }
  if (request.local) {
    // Connections of an earlier agent may linger on the port that is asked for again.
    if (!request.is_udp) {
      set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    const Sockaddr address(*request.local);
    if (bind(fd, address.get(), address.length) != 0) {
      return failed("bind to " + request.local->text(), "bind");
    }
  }
  if (request.listen && ::listen(fd, kBacklog) != 0) {
    return failed("listen", "listen");
  }
  if (request.remote) {
    const Sockaddr address(*request.remote);
    if (connect(fd, address.get(), address.length) != 0 && errno != EINPROGRESS) {
      return failed("connect to " + request.remote->text(), "connect");
    }
  }
  return {};
}

Result<UniqueFd> make_socket(const PodSocketRequest& request) {
  const int type = request.is_udp ? SOCK_DGRAM : SOCK_STREAM;
  const int family = request.is_ipv6 ? AF_INET6 : AF_INET;
  UniqueFd fd(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return fd.valid() ? Result<UniqueFd>(std::move(fd)) : failed("create a socket", "socket");
}

Result<PodSocket> prepared(Result<UniqueFd>&& made, const PodSocketRequest& request) {
  if (!made) {
    return std::unexpected(made.error());
  }
  if (const auto ready = prepare(made->get(), request); !ready) {
    return std::unexpected(ready.error());
  }
  const uint16_t port = local_address(made->get()).value_or(SocketAddress{}).port;
  return PodSocket{.fd = std::move(*made), .port = port};
}

}  // namespace

Result<PodSocket> open_pod_socket(int netns_fd, const PodSocketRequest& request) {
  Result<UniqueFd> made;
  const auto visited = run_in_netns(netns_fd, [&]() -> Result<void> {
    made = make_socket(request);
    return {};
  });
  if (!visited) {
    return std::unexpected(visited.error());
  }
  return prepared(std::move(made), request);
}

Result<PodSocket> open_pod_socket_here(int netns_fd, const PodSocketRequest& request) {
  Result<UniqueFd> made;
  {
    const NetnsVisit visit(netns_fd);
    made = visit.entered() ? make_socket(request) : failed("be", "setns");
  }
  return prepared(std::move(made), request);
}

}  // namespace hadal::net
