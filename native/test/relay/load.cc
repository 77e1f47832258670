#include "native/test/relay/load.h"

#include <sys/socket.h>

#include <atomic>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "native/net/socket.h"
#include "native/test/support/hostile_world.h"
#include "native/test/support/sockets.h"

namespace hadal::test {
namespace {

constexpr uint16_t kEchoPort = 9000;
constexpr size_t kStreamBytes = 400'000;

void echo(int fd) {
  std::string bytes(65'536, '\0');
  for (ssize_t got = 0; (got = recv(fd, bytes.data(), bytes.size(), 0)) > 0;) {
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t part = send(fd, bytes.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (part <= 0) {
        return;
      }
      sent += part;
    }
  }
}

class Applications {
 public:
  Applications(const PodWorld& world, std::chrono::seconds duration)
      : world_(world), until_(std::chrono::steady_clock::now() + duration) {}

  void start(std::atomic<int>& count, std::function<bool(const UniqueFd&)> work) {
    threads_.emplace_back([this, &count, work = std::move(work)] {
      while (std::chrono::steady_clock::now() < until_) {
        try {
          const UniqueFd fd =
              connect_in(world_.client.netns_fd.get(), {*net::IpAddress::parse("10.99.0.5"), kEchoPort});
          wrong += work(fd) ? 0 : 1;
          ++count;
        } catch (const std::exception&) {
          ++wrong;
        }
      }
    });
  }

  void wait() {
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  std::atomic<int> wrong = 0;

 private:
  const PodWorld& world_;
  std::chrono::steady_clock::time_point until_;
  std::vector<std::thread> threads_;
};

bool stream(const UniqueFd& fd) {
  const std::string forth = pattern(kStreamBytes, 1);
  std::thread sender([&] {
    write_all(fd.get(), forth);
    shutdown(fd.get(), SHUT_WR);
  });
  const bool same = read_up_to(fd.get(), kStreamBytes + 1) == forth;
  sender.join();
  return same;
}

bool exchange(const UniqueFd& fd) {
  const std::string message = pattern(64, 2);
  bool same = true;
  for (int i = 0; i < 20; ++i) {
    write_all(fd.get(), message);
    same = read_up_to(fd.get(), message.size()) == message && same;
  }
  net::reset_on_close(fd.get());
  return same;
}

bool abort_at_once(const UniqueFd& fd) {
  net::reset_on_close(fd.get());
  // Else there is time for nothing else.
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return true;
}

}  // namespace

LoadResult run_load(const PodWorld& world, std::chrono::seconds duration) {
  const Program server(world.server.netns_fd.get(), net::SocketAddress{world.server.v4, kEchoPort}, echo);
  std::atomic<int> streams = 0;
  std::atomic<int> exchanges = 0;
  std::atomic<int> aborts = 0;
  Applications applications(world, duration);
  for (int i = 0; i < 2; ++i) {
    applications.start(streams, stream);
    applications.start(exchanges, exchange);
    applications.start(exchanges, exchange);
    applications.start(aborts, abort_at_once);
  }
  applications.wait();
  return {.streams = streams, .exchanges = exchanges, .aborts = aborts, .wrong = applications.wrong};
}

}  // namespace hadal::test
