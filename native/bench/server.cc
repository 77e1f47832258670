#include "server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "socket_options.h"

namespace hadal::bench {
namespace {

constexpr int kThreads = 2;
constexpr size_t kBufferBytes = 256 * 1024;

constexpr int kPorts = 4;

/** By port. `brief` echoes too, and stays with the thread that accepted it: its next connection is another.
 */
enum class Role : uint8_t { echo = 0, discard = 1, source = 2, brief = 3 };

struct Connection {
  Role role;
  std::string unsent;  // echo only: what the peer has not taken yet
};

std::atomic<uint64_t> discarded_bytes{0};
std::atomic<bool> source_on{false};

class ServerThread {
 public:
  ServerThread(uint16_t port, const std::vector<std::unique_ptr<ServerThread>>& all)
      : all_(all), epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    for (int i = 0; i < kPorts; i++) {
      listeners_[i] = listen_on(static_cast<uint16_t>(port + i));
      watch(listeners_[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    watch(wake_, EPOLLIN, EPOLL_CTL_ADD);
  }

  [[noreturn]] void run() {
    epoll_event events[256];
    for (;;) {
      const int n = epoll_wait(epoll_, events, 256, -1);
      for (int i = 0; i < n; i++) handle(events[i].data.fd, events[i].events);
    }
  }

  /** From any thread: looks at `source_on` again, and at what others have handed over. */
  void wake() const {
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof one) < 0) die("eventfd");
  }

 private:
  void watch(int fd, uint32_t events, int operation) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void handle(int fd, uint32_t events) {
    for (int i = 0; i < kPorts; i++) {
      if (fd == listeners_[i]) return accept_all(fd, static_cast<Role>(i));
    }
    if (fd == wake_) return on_wake();
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    const bool alive = (events & EPOLLERR) == 0 && serve(fd, found->second, events);
    if (!alive) {
      held_ -= found->second.role == Role::brief ? 0 : 1;
      connections_.erase(found);
      close(fd);
    }
  }

  void accept_all(int listener, Role role) {
    for (;;) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ServerThread& taker = role == Role::brief ? *this : least_laden();
      if (&taker == this) {
        take(fd, role);
      } else {
        taker.hand_over(fd, role);
      }
    }
  }

  /** Connections that stay are shared out evenly: by the hash of their ports each run has another share. */
  ServerThread& least_laden() {
    ServerThread* least = this;
    for (const auto& other : all_) {
      if (other->held_ < least->held_) least = other.get();
    }
    least->held_++;
    return *least;
  }

  void take(int fd, Role role) {
    connections_[fd] = Connection{role, {}};
    watch(fd, role == Role::source ? (EPOLLIN | EPOLLOUT) : EPOLLIN, EPOLL_CTL_ADD);
  }

  void hand_over(int fd, Role role) {
    {
      const std::lock_guard lock(handed_mutex_);
      handed_.emplace_back(fd, role);
    }
    wake();
  }

  void on_wake() {
    uint64_t count;
    if (read(wake_, &count, sizeof count) < 0) return;
    take_handed();
    resume_sources();
  }

  void take_handed() {
    std::vector<std::pair<int, Role>> handed;
    {
      const std::lock_guard lock(handed_mutex_);
      handed.swap(handed_);
    }
    for (const auto& [fd, role] : handed) take(fd, role);
  }

  void resume_sources() {
    const uint32_t events = source_on.load() ? (EPOLLIN | EPOLLOUT) : EPOLLIN;
    for (const auto& [fd, connection] : connections_) {
      if (connection.role == Role::source) watch(fd, events, EPOLL_CTL_MOD);
    }
  }

  bool serve(int fd, Connection& connection, uint32_t events) {
    switch (connection.role) {
      case Role::echo:
      case Role::brief:
        return echo(fd, connection, events);
      case Role::discard:
        return discard(fd);
      case Role::source:
        return (events & EPOLLIN) != 0 ? discard(fd) : send_source(fd);
    }
    return false;
  }

  bool echo(int fd, Connection& connection, uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !flush(fd, connection)) return false;
    if ((events & EPOLLIN) == 0 || !connection.unsent.empty()) return true;
    const ssize_t n = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    const ssize_t sent = send(fd, buffer_.data(), static_cast<size_t>(n), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
    if (taken < static_cast<size_t>(n)) {
      connection.unsent.assign(buffer_.data() + taken, static_cast<size_t>(n) - taken);
      watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
    }
    return true;
  }

  bool flush(int fd, Connection& connection) {
    const ssize_t sent = send(fd, connection.unsent.data(), connection.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    connection.unsent.erase(0, static_cast<size_t>(sent));
    if (connection.unsent.empty()) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    return true;
  }

  bool discard(int fd) {
    const ssize_t n = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    discarded_bytes.fetch_add(static_cast<uint64_t>(n), std::memory_order_relaxed);
    return true;
  }

  bool send_source(int fd) {
    if (!source_on.load(std::memory_order_relaxed)) {
      watch(fd, EPOLLIN, EPOLL_CTL_MOD);
      return true;
    }
    const ssize_t n = send(fd, buffer_.data(), buffer_.size(), MSG_NOSIGNAL);
    return n >= 0 || errno == EAGAIN;
  }

  const std::vector<std::unique_ptr<ServerThread>>& all_;
  int epoll_;
  int wake_;
  int listeners_[kPorts];
  std::atomic<int> held_{0};
  std::mutex handed_mutex_;
  std::vector<std::pair<int, Role>> handed_;
  std::unordered_map<int, Connection> connections_;
  std::vector<char> buffer_ = std::vector<char>(kBufferBytes);
};

}  // namespace

int run_server(uint16_t port) {
  std::vector<std::unique_ptr<ServerThread>> threads;
  for (int i = 0; i < kThreads; i++) threads.push_back(std::make_unique<ServerThread>(port, threads));
  for (const auto& thread : threads) std::thread(&ServerThread::run, thread.get()).detach();
  std::printf("{\"listening\":%u}\n", port);
  std::fflush(stdout);
  for (std::string command; std::getline(std::cin, command);) {
    if (command == "mark") {
      std::printf("{\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n", discarded_bytes.load(), monotonic_ns());
    } else if (command == "source on" || command == "source off") {
      source_on = command == "source on";
      for (const auto& thread : threads) thread->wake();
      std::printf("{\"source\":%s}\n", source_on ? "true" : "false");
    } else {
      std::printf("{\"error\":\"unknown command; mark, source on, source off\"}\n");
    }
    std::fflush(stdout);
  }
  std::_Exit(0);  // the threads never end by themselves
}

}  // namespace hadal::bench
