#include "native/test/support/hostile_world.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace hadal::test {
namespace {

void echo(int fd) {
  std::string bytes(16384, '\0');
  while (true) {
    const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
    if (got <= 0 || send(fd, bytes.data(), static_cast<size_t>(got), MSG_NOSIGNAL) < 0) {
      return;
    }
  }
}

}  // namespace

Program::Program(int netns_fd, const net::SocketAddress& address, std::function<void(int fd)> serve)
    : listener_(listen_in(netns_fd, address)), serve_(std::move(serve)) {
  const timeval forever{};
  setsockopt(listener_.get(), SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
  acceptor_ = std::thread([this] {
    while (true) {
      const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) {
        return;
      }
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd] {
        serve_(fd);
        const std::lock_guard ending(mutex_);
        std::erase(open_, fd);
        close(fd);
      });
    }
  });
}

Program::~Program() {
  shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) {
      shutdown(fd, SHUT_RDWR);
    }
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void HostilePeers::SetUp() {
  if (const std::string missing = missing_for_pod_world(); !missing.empty()) {
    GTEST_SKIP() << missing;
  }
  world = std::make_unique<PodWorld>();
  tunnel::Settings settings;
  settings.mark = kMark;
  adjust(settings);
  agent = std::make_unique<TestAgent>(settings);
  agent->decide_inbound = allow_to(world->server.v4);
  agent->enrol(2, world->server, ca.issue(kCatalogId));
  echo_ = std::make_unique<Program>(world->server.netns_fd.get(), net::SocketAddress{world->server.v4, 8080},
                                    echo);
  // Of another identity: it shares no budget with those that misbehave.
  const tls::IdentityMaterial other = ca.issue("spiffe://cluster.local/ns/shop/sa/bystander");
  bystander_ = peer({.material = &other});
  ASSERT_TRUE(bystander_->begin());
  ASSERT_EQ(bystander_->connect(1, echo_authority()), "200");
  ASSERT_TRUE(bystander_->echoes(1, "before"));
  descriptors_before_ = open_descriptors();
}

void HostilePeers::TearDown() {
  if (bystander_ == nullptr) {
    return;
  }
  EXPECT_TRUE(bystander_->echoes(1, "after")) << "the connection of another peer was harmed";
  EXPECT_EQ(bystander_->connect(3, echo_authority()), "200");
  EXPECT_TRUE(bystander_->echoes(3, "more"));
  {
    const tls::IdentityMaterial other = ca.issue("spiffe://cluster.local/ns/shop/sa/newcomer");
    const auto newcomer = peer({.material = &other});
    EXPECT_TRUE(newcomer->begin());
    EXPECT_EQ(newcomer->connect(1, echo_authority()), "200");
  }
  bystander_->say(frame(kReset, 0, 3, u32(8)));
  EXPECT_TRUE(eventually([this] {
    const tunnel::Totals totals = agent->core().totals();
    return totals.tunnels_open == 1 && totals.streams_open == 1 && totals.connections_open == 1 &&
           totals.parked == 0 && open_descriptors() <= descriptors_before_;
  })) << "left: "
      << agent->core().totals().tunnels_open << " tunnels, " << agent->core().totals().streams_open
      << " streams, " << agent->core().totals().connections_open << " connections; " << open_descriptors()
      << " descriptors, " << descriptors_before_ << " before";
}

std::unique_ptr<HostilePeer> HostilePeers::peer(const HostilePeer::Wish& wish) const {
  return std::make_unique<HostilePeer>(world->client.netns_fd.get(), hbone(), wish);
}

std::unique_ptr<HostilePeer> HostilePeers::trusted_peer() const {
  auto trusted = peer({.material = &front});
  if (!trusted->begin()) {
    throw std::runtime_error("a trusted peer was turned away");
  }
  return trusted;
}

bool HostilePeers::logged(const std::string& text) {
  return eventually([&] {
    return std::ranges::any_of(agent->log_lines(),
                               [&](const std::string& line) { return line.find(text) != std::string::npos; });
  });
}

size_t open_descriptors() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

size_t resident_bytes() {
  size_t pages = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

bool memory_is_comparable() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#elif defined(__has_feature)
  // clang has no macro for it.
  return !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
  return true;
#endif
}

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace hadal::test
