#include "native/test/support/sockets.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "native/net/netns_visit.h"

namespace hadal::test {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

UniqueFd blocking_socket(const net::SocketAddress& address) {
  UniqueFd fd(socket(address.address.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  return fd;
}

UniqueFd make_in(int netns_fd, const std::function<UniqueFd()>& make) {
  UniqueFd fd;
  std::string failure;
  in_netns(netns_fd, [&] {
    try {
      fd = make();
    } catch (const std::exception& error) {
      failure = error.what();
    }
  }).join();
  if (!failure.empty()) {
    throw std::runtime_error(failure);
  }
  return fd;
}

}  // namespace

std::thread in_netns(int netns_fd, std::function<void()> work) {
  return std::thread([netns_fd, work = std::move(work)] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      std::perror("setns");
      std::abort();
    }
    work();
  });
}

UniqueFd listen_in(int netns_fd, const net::SocketAddress& address) {
  return make_in(netns_fd, [&] {
    UniqueFd fd = blocking_socket(address);
    const int one = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    const net::Sockaddr local(address);
    if (bind(fd.get(), local.get(), local.length) != 0 || listen(fd.get(), 4096) != 0) {
      refuse("listen on " + address.text());
    }
    return fd;
  });
}

UniqueFd connect_in(int netns_fd, const net::SocketAddress& address) {
  return make_in(netns_fd, [&] {
    UniqueFd fd = blocking_socket(address);
    const net::Sockaddr remote(address);
    if (connect(fd.get(), remote.get(), remote.length) != 0) {
      refuse("connect to " + address.text());
    }
    return fd;
  });
}

UniqueFd accept_from(int listener) {
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd.valid()) {
    refuse("accept");
  }
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  return fd;
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      refuse("write");
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string read_up_to(int fd, size_t size) {
  std::string bytes(size, '\0');
  size_t got = 0;
  while (got < size) {
    const ssize_t count = recv(fd, bytes.data() + got, size - got, 0);
    if (count < 0) {
      refuse("read");
    }
    if (count == 0) {
      break;
    }
    got += static_cast<size_t>(count);
  }
  bytes.resize(got);
  return bytes;
}

int read_error(int fd) {
  char byte = 0;
  return recv(fd, &byte, 1, 0) < 0 ? errno : 0;
}

std::string pattern(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

}  // namespace hadal::test
