// Blocking sockets of applications in test pods.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::test {

/// Runs `work` on a thread inside the namespace.
[[nodiscard]] std::thread in_netns(int netns_fd, std::function<void()> work);

/// All with a timeout of 10 s per call. Throw with errno's text when they fail.
[[nodiscard]] UniqueFd listen_in(int netns_fd, const net::SocketAddress& address);
[[nodiscard]] UniqueFd connect_in(int netns_fd, const net::SocketAddress& address);
[[nodiscard]] UniqueFd accept_from(int listener);
void write_all(int fd, std::string_view bytes);
/// Until `size` bytes or the end.
[[nodiscard]] std::string read_up_to(int fd, size_t size);
/// errno of a failed read, 0 when it delivered bytes or the end.
[[nodiscard]] int read_error(int fd);
[[nodiscard]] std::string pattern(size_t size, uint64_t seed);

}  // namespace hadal::test
