// TCP sockets of the data path: non-blocking, close-on-exec, and the options each kind needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::net {

[[nodiscard]] UniqueFd open_tcp_socket(int family);

/// False with errno set.
bool set_option(int fd, int level, int name, int value);

/// The first probe after 180 s, nine of them 180 s apart: what ambient proxies use. Pointless on legs over
/// lo, whose other end cannot vanish without a word.
void set_keepalive(int fd);

/// Ports are chosen at connect(), by the whole 4-tuple: 28,000 per destination instead of 28,000 in all.
void choose_port_at_connect(int fd);

/// TCP_CONGESTION; an empty name leaves the system's. setsockopt works where the sysctl of the namespace is
/// refused.
bool set_congestion_control(int fd, const std::string& name);

/// The next close() sends RST and leaves no TIME_WAIT behind.
void reset_on_close(int fd);

/// Sets the socket's value in the SK_STORAGE map behind `map_fd` to 1, which the connect hook reads as "the
/// agent's own". A map_fd of -1 does nothing.
[[nodiscard]] bool exempt_from_capture(int map_fd, int socket_fd);

[[nodiscard]] std::optional<SocketAddress> local_address(int fd);
[[nodiscard]] std::optional<SocketAddress> peer_address(int fd);

/// SO_ERROR, cleared by reading.
[[nodiscard]] int pending_error(int fd);

struct PathQuality {
  uint32_t rtt_us = 0;
  uint32_t retransmits = 0;
};
[[nodiscard]] PathQuality path_quality(int fd);

/// A transparent dual-stack listener on a port that the kernel chooses, so that nobody in the pod can squat
/// or share it; IPv4 only where the namespace has no IPv6.
[[nodiscard]] Result<UniqueFd> open_transparent_listener(const std::string& congestion_control);

}  // namespace hadal::net
