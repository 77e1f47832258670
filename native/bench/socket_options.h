// Sockets of the load generator: blocking clients, resolved once, nothing tuned but TCP_NODELAY.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace hadal::bench {

struct Target {
  sockaddr_storage address{};
  socklen_t length = 0;
};

/** Parses a numeric IPv4 or IPv6 address; exits with a message when it is neither. */
[[nodiscard]] Target parse_target(const std::string& host, uint16_t port);

/** A connected blocking socket with TCP_NODELAY, or -1 with errno set. */
[[nodiscard]] int connect_to(const Target& target);

/** A non-blocking dual-stack listener that shares its port with the generator's other threads. */
[[nodiscard]] int listen_on(uint16_t port);

/** Closes with RST, as a client does that wants no TIME_WAIT. */
void close_by_reset(int fd);

/** Writes or reads exactly `size` bytes; false on error or end of stream. */
[[nodiscard]] bool write_all(int fd, const char* data, size_t size);
[[nodiscard]] bool read_all(int fd, char* data, size_t size);

[[noreturn]] void die(const std::string& what);

[[nodiscard]] uint64_t monotonic_ns();

}  // namespace hadal::bench
