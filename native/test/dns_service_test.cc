// The name service's thread with real sockets in a namespace of the test's own; the test decides as
// TypeScript would.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <thread>

#include "native/dns/service.h"
#include "native/net/netns_visit.h"
#include "native/net/pod_socket.h"
#include "native/net/socket.h"

namespace hadal::dns {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

constexpr uint32_t kPod = 7;
constexpr uint16_t kSlot = 0;

UniqueFd make_netns() {
  UniqueFd made;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) {
      return;
    }
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::string("lo").copy(request.ifr_name, IFNAMSIZ);
    request.ifr_flags = IFF_UP;
    if (ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0) {
      made.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }
  }).join();
  return made;
}

std::string query(uint16_t id, const std::string& name) {
  const std::string header{static_cast<char>(id >> 8), static_cast<char>(id & 0xff)};
  return header + "\1\0\0\1\0\0\0\0\0\0"s + static_cast<char>(name.size()) + name + "\0\0\1\0\1"s;
}

/// With two addresses behind it.
std::string answer(const std::string& asked, char code = 0) {
  std::string out = asked;
  out[2] = static_cast<char>(0x81);
  out[3] = code;
  return out + "AAAABBBB";
}

bool soon(const std::function<bool()>& what) {
  for (int i = 0; i < 1'000; ++i) {
    if (what()) {
      return true;
    }
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

class Told final : public Listener {
 public:
  void on_asked() override { ++times; }
  std::atomic<int> times = 0;
};

class DnsServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "network namespaces need root";
    }
    netns_ = make_netns();
    ASSERT_TRUE(netns_.valid());
  }

  void start(Settings settings = {}) {
    auto made = Service::start(std::move(settings), told_);
    ASSERT_TRUE(made) << made.error().message;
    service_ = std::move(*made);
    service_->add_pod(kPod, UniqueFd::duplicate(netns_.get()));
    net::PodSocket udp = open({.is_udp = true, .local = at(0)});
    net::PodSocket tcp = open({.local = at(0), .listen = true});
    unblock(udp.fd.get());
    unblock(tcp.fd.get());
    udp_port_ = udp.port;
    tcp_port_ = tcp.port;
    service_->serve(kPod, kSlot, std::move(udp.fd), std::move(tcp.fd));
  }

  static net::SocketAddress at(uint16_t port) { return {*net::IpAddress::parse("127.0.0.1"), port}; }

  net::PodSocket open(const net::PodSocketRequest& request) {
    auto opened = net::open_pod_socket(netns_.get(), request);
    EXPECT_TRUE(opened) << opened.error().message;
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    fcntl(opened->fd.get(), F_SETFL, fcntl(opened->fd.get(), F_GETFL) & ~O_NONBLOCK);
    setsockopt(opened->fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return std::move(*opened);
  }
  /// For the service: it must not block.
  static void unblock(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

  UniqueFd client(bool is_udp = true) {
    UniqueFd fd = open({.is_udp = is_udp}).fd;
    const net::Sockaddr to(at(is_udp ? udp_port_ : tcp_port_));
    EXPECT_EQ(connect(fd.get(), to.get(), to.length), 0);
    return fd;
  }

  static void say(const UniqueFd& fd, const std::string& message) {
    EXPECT_EQ(send(fd.get(), message.data(), message.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(message.size()));
  }
  static std::string hear(const UniqueFd& fd, size_t most = 4'096) {
    std::string out(most, '\0');
    const ssize_t length = recv(fd.get(), out.data(), out.size(), 0);
    out.resize(length < 0 ? 0 : static_cast<size_t>(length));
    return out;
  }

  Asked taken() {
    std::optional<Asked> asked;
    EXPECT_TRUE(soon([&] { return asked || (asked = service_->take(1)); }));
    return asked.value_or(Asked{});
  }

  void decide(const Asked& asked, bool keep, bool forward = false) {
    Row row{.message = answer(asked.message, forward ? 2 : 0), .forward = forward, .labels = 3};
    if (!forward) {
      row.addresses = {static_cast<uint16_t>(asked.message.size()),
                       static_cast<uint16_t>(asked.message.size() + 4)};
      row.address_bytes = 4;
    }
    service_->decide({.kind = Decision::Kind::row, .id = asked.id, .row = std::move(row), .keep = keep});
  }

  AnswerCounts counts() { return service_->answers()[3]; }
  DropCounts drops() { return service_->drops()[0]; }

  UniqueFd netns_;
  Told told_;
  std::unique_ptr<Service> service_;
  uint16_t udp_port_ = 0;
  uint16_t tcp_port_ = 0;
};

TEST_F(DnsServiceTest, AsksOnceAndRepeatsUntilItIsToForget) {
  start();
  const UniqueFd fd = client();
  say(fd, query(1, "catalog"));
  decide(taken(), true);
  std::set<std::string> orders{hear(fd).substr(25)};
  for (uint16_t id = 2; id < 40; ++id) {
    say(fd, query(id, "catalog"));
    const std::string got = hear(fd);
    ASSERT_EQ(message_id(got), id);
    EXPECT_EQ(got.substr(2, 23), answer(query(id, "catalog")).substr(2, 23));
    orders.insert(got.substr(25));
  }
  EXPECT_EQ(orders, (std::set{"AAAABBBB"s, "BBBBAAAA"s}));
  EXPECT_EQ(counts().requests, 39u);
  EXPECT_FALSE(service_->take(0));
  service_->forget_answers(0);
  std::this_thread::sleep_for(20ms);
  say(fd, query(50, "catalog"));
  EXPECT_EQ(message_id(taken().message), 50);
}

TEST_F(DnsServiceTest, TellsOnceThatSomethingWaits) {
  start();
  const UniqueFd fd = client();
  EXPECT_FALSE(service_->take(0));
  for (uint16_t id = 0; id < 10; ++id) {
    say(fd, query(id, "x" + std::to_string(id)));
  }
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(told_.times, 1);
  for (int i = 0; i < 10; ++i) {
    (void)taken();
  }
  EXPECT_FALSE(service_->take(0));
  say(fd, query(11, "y"));
  EXPECT_TRUE(soon([&] { return told_.times == 2; }));
}

TEST_F(DnsServiceTest, AFloodIsLeftUnreadAndCounted) {
  start();
  const UniqueFd fd = client();
  for (uint16_t id = 0; id < 2'000; ++id) {
    say(fd, query(id, "n" + std::to_string(id)));
  }
  EXPECT_TRUE(soon([&] { return drops()[static_cast<size_t>(Drop::over_share)] > 0; }));
  size_t waiting = 0;
  while (const auto asked = service_->take(1)) {
    service_->decide({.kind = Decision::Kind::drop, .id = asked->id, .row = {}});
    ++waiting;
  }
  EXPECT_GE(waiting, 64u);
  // Taking them makes room: what the kernel still has comes, and with it how many it has dropped.
  EXPECT_TRUE(soon([&] {
    while (const auto asked = service_->take(1)) {
      service_->decide({.kind = Decision::Kind::drop, .id = asked->id, .row = {}});
      ++waiting;
    }
    return waiting > 200;
  }));
  say(fd, query(9'999, "after"));
  EXPECT_TRUE(soon([&] {
    const auto asked = service_->take(1);
    return asked && message_id(asked->message) == 9'999;
  }));
  EXPECT_GT(drops()[static_cast<size_t>(Drop::over_share)], 500u);
}

TEST_F(DnsServiceTest, APodMayAskSoManyASecond) {
  start({.queries_per_second = 100, .query_burst = 50});
  const UniqueFd fd = client();
  say(fd, query(1, "catalog"));
  decide(taken(), true);
  (void)hear(fd);
  for (uint16_t id = 2; id < 1'000; ++id) {
    say(fd, query(id, "catalog"));
  }
  std::this_thread::sleep_for(100ms);
  EXPECT_LT(counts().requests, 100u);
  EXPECT_GT(counts().requests, 40u);
}

TEST_F(DnsServiceTest, WhatWaitedTooLongIsNotAnswered) {
  start({.longest_wait = 30ms});
  const UniqueFd fd = client();
  say(fd, query(1, "old"));
  std::this_thread::sleep_for(100ms);
  say(fd, query(2, "new"));
  EXPECT_EQ(message_id(taken().message), 2);
  EXPECT_TRUE(soon([&] { return drops()[static_cast<size_t>(Drop::too_late)] == 1; }));
}

TEST_F(DnsServiceTest, AnswersByTcpInPiecesAndSeveralAtOnce) {
  start();
  const UniqueFd fd = client(false);
  const auto framed = [](const std::string& message) {
    return std::string{static_cast<char>(message.size() >> 8), static_cast<char>(message.size() & 0xff)} +
           message;
  };
  const std::string three = framed(query(1, "one")) + framed(query(2, "two")) + framed(query(3, "three"));
  say(fd, three.substr(0, 1));
  std::this_thread::sleep_for(10ms);
  say(fd, three.substr(1, 30));
  std::this_thread::sleep_for(10ms);
  say(fd, three.substr(31));
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    const Asked asked = taken();
    EXPECT_EQ(asked.protocol, Protocol::tcp);
    service_->decide(
        {.kind = Decision::Kind::row, .id = asked.id, .row = {.message = answer(asked.message)}});
    expected += framed(answer(asked.message));
  }
  std::string got;
  while (got.size() < expected.size()) {
    const std::string more = hear(fd);
    ASSERT_FALSE(more.empty());
    got += more;
  }
  EXPECT_EQ(got, expected);
}

TEST_F(DnsServiceTest, TcpWaitsInsteadOfLosingWhatIsTooMuch) {
  start({.waiting_queries = 4});
  const UniqueFd fd = client(false);
  std::string all;
  for (uint16_t id = 0; id < 100; ++id) {
    const std::string message = query(id, "n" + std::to_string(id));
    all += std::string{0, static_cast<char>(message.size())} + message;
  }
  say(fd, all);
  shutdown(fd.get(), SHUT_WR);
  for (uint16_t id = 0; id < 100; ++id) {
    const Asked asked = taken();
    ASSERT_EQ(message_id(asked.message), id);
    service_->decide(
        {.kind = Decision::Kind::row, .id = asked.id, .row = {.message = answer(asked.message)}});
  }
  size_t got = 0;
  for (std::string more = hear(fd); !more.empty(); more = hear(fd)) {
    got += more.size();
  }
  EXPECT_EQ(got, all.size() + 100 * 8) << "all answered, and then the connection is closed";
}

TEST_F(DnsServiceTest, IdleConnectionsAreClosedAndTheirNumberIsBounded) {
  start({.tcp_connections = 2, .tcp_idle = 200ms});
  const UniqueFd one = client(false);
  const UniqueFd two = client(false);
  std::this_thread::sleep_for(20ms);
  const UniqueFd three = client(false);
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(hear(three), "");
  EXPECT_LT(std::chrono::steady_clock::now() - started, 150ms);
  EXPECT_EQ(hear(one), "");
  EXPECT_EQ(hear(two), "");
  EXPECT_LT(std::chrono::steady_clock::now() - started, 3s);
}

class Nameserver {
 public:
  Nameserver(net::PodSocket udp, bool answers) : fd_(std::move(udp.fd)) {
    thread_ = std::thread([this, answers] { run(answers); });
  }
  ~Nameserver() {
    stopping_ = true;
    thread_.join();
  }
  std::atomic<int> asked = 0;

 private:
  void run(bool answers) {
    const timeval patience{.tv_sec = 0, .tv_usec = 20'000};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    std::array<char, 1'024> buffer{};
    while (!stopping_) {
      sockaddr_storage from{};
      socklen_t length = sizeof(from);
      const ssize_t got =
          recvfrom(fd_.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (got <= 0) {
        continue;
      }
      ++asked;
      std::string told = answer({buffer.data(), static_cast<size_t>(got)}) + "!";
      const auto send_it = [&] {
        (void)sendto(fd_.get(), told.data(), told.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
      };
      if (answers) {
        const uint16_t id = message_id(told);
        set_message_id(told, static_cast<uint16_t>(id + 1));
        told.back() = '?';
        send_it();  // somebody else's
        set_message_id(told, id);
        told.back() = '!';
        send_it();
      }
    }
  }

  UniqueFd fd_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

TEST_F(DnsServiceTest, PassesOnToTheNameserverWithoutAskingAgain) {
  start();
  Nameserver nameserver(open({.is_udp = true, .local = at(53)}), true);
  service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  const UniqueFd fd = client();
  say(fd, query(4711, "elsewhere"));
  decide(taken(), true, true);
  for (uint16_t id = 4711; id < 4720; ++id) {
    EXPECT_EQ(hear(fd), answer(query(id, "elsewhere")) + "!");
    say(fd, query(static_cast<uint16_t>(id + 1), "elsewhere"));
  }
  EXPECT_TRUE(soon([&] { return counts().upstream_requests == 10; }));
  EXPECT_EQ(counts().upstream_failures, 0u);
  EXPECT_FALSE(service_->take(0));
}

TEST_F(DnsServiceTest, SaysSoWhenTheNameserverIsSilentOrAbsent) {
  start({.upstream_timeout = 100ms});
  service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  const UniqueFd fd = client();
  say(fd, query(1, "absent"));
  decide(taken(), true, true);
  EXPECT_EQ(hear(fd), answer(query(1, "absent"), 2));
  {
    Nameserver silent(open({.is_udp = true, .local = at(53)}), false);
    say(fd, query(2, "absent"));
    EXPECT_EQ(hear(fd), answer(query(2, "absent"), 2));
    EXPECT_EQ(silent.asked, 1);
  }
  EXPECT_EQ(counts().upstream_failures, 2u);
}

TEST_F(DnsServiceTest, OnlySoManyWaitForNameservers) {
  start({.upstream_timeout = 60s, .upstream_queries = 5});
  Nameserver silent(open({.is_udp = true, .local = at(53)}), false);
  service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  const UniqueFd fd = client();
  for (uint16_t id = 0; id < 8; ++id) {
    say(fd, query(id, "n"));
    if (id == 0) {
      decide(taken(), true, true);
      EXPECT_TRUE(soon([&] { return counts().requests == 1; }));
      std::this_thread::sleep_for(20ms);
    }
  }
  for (uint16_t id = 5; id < 8; ++id) {
    EXPECT_EQ(hear(fd), answer(query(id, "n"), 2));
  }
  const auto started = std::chrono::steady_clock::now();
  service_->remove_pod(kPod);
  service_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - started, 2s);
}

TEST_F(DnsServiceTest, AsksTheNameserverForTypeScript) {
  start({.upstream_timeout = 100ms});
  service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  const UniqueFd fd = client();
  for (const bool answers : {true, false}) {
    std::optional<Nameserver> nameserver;
    if (answers) {
      nameserver.emplace(open({.is_udp = true, .local = at(53)}), true);
    }
    say(fd, query(1, "alias"));
    const Asked asked = taken();
    service_->decide({.kind = Decision::Kind::ask, .id = asked.id, .row = {.message = query(0, "target")}});
    const Asked told = taken();
    EXPECT_EQ(told.id, asked.id);
    EXPECT_EQ(told.kind, answers ? Asked::Kind::answer : Asked::Kind::failure);
    if (answers) {
      EXPECT_EQ(told.message.substr(2), (answer(query(0, "target")) + "!").substr(2));
    }
    service_->decide(
        {.kind = Decision::Kind::row, .id = asked.id, .row = {.message = answer(asked.message)}});
    EXPECT_EQ(hear(fd), answer(query(1, "alias")));
  }
}

TEST_F(DnsServiceTest, PodsComeAndGoUnderTraffic) {
  start();
  service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  std::atomic<bool> stopping = false;
  std::thread decider([&] {
    while (!stopping) {
      while (const auto asked = service_->take(1)) {
        decide(*asked, asked->id % 2 == 0, asked->id % 3 == 0);
      }
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < 30; ++round) {
    const UniqueFd udp = client();
    const UniqueFd tcp = client(false);
    for (uint16_t id = 0; id < 50; ++id) {
      const std::string message = query(id, "n" + std::to_string(id));
      (void)send(udp.get(), message.data(), message.size(), MSG_NOSIGNAL);
      const std::string frame = std::string{0, static_cast<char>(message.size())} + message;
      (void)send(tcp.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    }
    if (round % 3 == 0) {
      std::this_thread::sleep_for(2ms);
    }
    service_->add_pod(kPod, UniqueFd::duplicate(netns_.get()));
    net::PodSocket again_udp = open({.is_udp = true, .local = at(0)});
    net::PodSocket again_tcp = open({.local = at(0), .listen = true});
    unblock(again_udp.fd.get());
    unblock(again_tcp.fd.get());
    udp_port_ = again_udp.port;
    tcp_port_ = again_tcp.port;
    service_->serve(kPod, kSlot, std::move(again_udp.fd), std::move(again_tcp.fd));
    service_->set_nameserver(kPod, kSlot, *net::IpAddress::parse("127.0.0.1"));
  }
  stopping = true;
  decider.join();
  service_->stop();
}

}  // namespace
}  // namespace hadal::dns
