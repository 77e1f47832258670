#include "native/tunnel/socket_stock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "native/net/netns_visit.h"
#include "native/net/socket.h"

namespace hadal::tunnel {
namespace {

constexpr size_t kMaxBatch = 32;
/// A shelf that is empty again this soon gets twice as many next time.
constexpr int64_t kBusyNs = 50'000'000;
constexpr int64_t kStaleNs = 1'000'000'000;

}  // namespace

UniqueFd SocketStock::take(SocketUse use, int family, int64_t now_ns) {
  Shelf& from = shelf(use, family);
  if (from.sockets.empty()) {
    refill(from, use, family, now_ns);
  }
  if (from.sockets.empty()) {
    return {};
  }
  UniqueFd fd = std::move(from.sockets.back());
  from.sockets.pop_back();
  return fd;
}

SocketStock::Shelf& SocketStock::shelf(SocketUse use, int family) {
  return shelves_[(use == SocketUse::dial ? 0U : 2U) + (family == AF_INET ? 0U : 1U)];
}

void SocketStock::refill(Shelf& shelf, SocketUse use, int family, int64_t now_ns) {
  shelf.batch = now_ns - shelf.refilled_ns < kBusyNs ? std::min(shelf.batch * 2, kMaxBatch) : 1;
  shelf.refilled_ns = now_ns;
  const net::NetnsVisit visit(netns_fd_);
  if (!visit.entered()) {
    return;
  }
  for (size_t i = 0; i < shelf.batch; ++i) {
    UniqueFd fd = make(use, family);
    if (!fd.valid()) {
      return;
    }
    shelf.sockets.push_back(std::move(fd));
  }
}

UniqueFd SocketStock::make(SocketUse use, int family) const {
  UniqueFd fd = net::open_tcp_socket(family);
  if (!fd.valid() || !net::exempt_from_capture(settings_.exempt_map_fd, fd.get())) {
    return {};
  }
  net::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  if (use == SocketUse::dial) {
    net::set_keepalive(fd.get());
    net::choose_port_at_connect(fd.get());
  } else if (!prepare_delivery(fd.get(), family)) {
    return {};
  }
  return fd;
}

bool SocketStock::prepare_delivery(int fd, int family) const {
  static constexpr char kLoopback[] = "lo";
  if (!net::set_congestion_control(fd, settings_.local_congestion_control)) {
    return false;
  }
  // Bound to lo, or the inbound program would see the packets arrive on eth0 and steer them back to us.
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, kLoopback, sizeof(kLoopback)) != 0) {
    return false;
  }
  if (!settings_.keep_source_address) {
    return true;
  }
  const bool v4 = family == AF_INET;
  return net::set_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(settings_.mark)) &&
         net::set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
         net::set_option(fd, v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6}, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
                         1);
}

void SocketStock::trim(int64_t now_ns) {
  for (Shelf& shelf : shelves_) {
    if (!shelf.sockets.empty() && now_ns - shelf.refilled_ns > kStaleNs) {
      shelf.sockets.clear();
    }
  }
}

}  // namespace hadal::tunnel
