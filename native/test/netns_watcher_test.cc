// The watcher's thread against namespaces of the test's own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "native/net/netns_visit.h"
#include "native/net/rtnetlink_watch.h"

namespace hadal::net {
namespace {

using namespace std::chrono_literals;

constexpr CaptureRouting kRouting{.mark = 0x4841, .mask = 0xffff, .table = 18497, .priority = 100};

/// A namespace without a name, with `lo` up; gone with its last descriptor.
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

void delete_rule(int netns_fd, uint8_t family) {
  auto done = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    NetlinkRequest request(RTM_DELRULE, NLM_F_ACK);
    request.body<rtmsg>().rtm_family = family;  // of one layout with fib_rule_hdr as far as it is used here
    request.put(RTA_PRIORITY, kRouting.priority);
    return socket->change(request, "delete the rule");
  });
  ASSERT_TRUE(done) << done.error().message;
}

bool soon(const std::function<bool()>& what) {
  for (int i = 0; i < 500 && !what(); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  return what();
}

size_t rules_of(int netns_fd) {
  size_t count = 0;
  (void)run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
      const auto rules = dump_rules(*socket, family);
      for (const RuleEntry& rule : *rules) {
        count += rule.table == kRouting.table ? 1 : 0;
      }
    }
    return {};
  });
  return count;
}

class NetnsWatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "network namespaces need root";
    }
  }
};

TEST_F(NetnsWatcherTest, RestoresWhatIsTakenAwayAndTellsAddresses) {
  const UniqueFd netns = make_netns();
  ASSERT_TRUE(netns.valid());
  std::atomic<int> restored = 0;
  std::atomic<int> addresses = 0;
  NetnsWatcher watcher;
  auto id = watcher.watch(netns.get(), kRouting, [&](const NetnsChange& change) {
    restored += std::holds_alternative<CaptureRestored>(change) ? 1 : 0;
    addresses += std::holds_alternative<AddressesChanged>(change) ? 1 : 0;
  });
  ASSERT_TRUE(id) << id.error().message;
  ASSERT_TRUE(soon([&] { return addresses == 1; }));
  ASSERT_EQ(rules_of(netns.get()), 2u);
  EXPECT_EQ(restored, 0);
  delete_rule(netns.get(), AF_INET);
  delete_rule(netns.get(), AF_INET6);
  EXPECT_TRUE(soon([&] { return restored == 2; }));
  EXPECT_EQ(rules_of(netns.get()), 2u);
}

TEST_F(NetnsWatcherTest, TakesAndForgetsNamespacesWhileItIsBusy) {
  NetnsWatcher watcher;
  std::atomic<int> calls = 0;
  std::vector<UniqueFd> namespaces;
  for (int i = 0; i < 20; ++i) {
    namespaces.push_back(make_netns());
  }
  std::atomic<bool> done = false;
  std::thread vandal([&] {
    for (size_t i = 0; !done; i = (i + 1) % namespaces.size()) {
      (void)remove_capture_routing(namespaces[i].get(), kRouting);
    }
  });
  std::vector<uint64_t> ids;
  for (int round = 0; round < 5; ++round) {
    for (const UniqueFd& netns : namespaces) {
      auto id = watcher.watch(netns.get(), kRouting, [&](const NetnsChange&) { ++calls; });
      ASSERT_TRUE(id) << id.error().message;
      ids.push_back(*id);
    }
    std::this_thread::sleep_for(20ms);
    for (const uint64_t id : std::exchange(ids, {})) {
      watcher.unwatch(id);
    }
  }
  done = true;
  vandal.join();
  EXPECT_GT(calls, 0);
}

TEST_F(NetnsWatcherTest, IsQuietAfterStop) {
  const UniqueFd netns = make_netns();
  NetnsWatcher watcher;
  std::atomic<int> calls = 0;
  ASSERT_TRUE(watcher.watch(netns.get(), kRouting, [&](const NetnsChange&) { ++calls; }));
  ASSERT_TRUE(soon([&] { return calls == 1; }));
  watcher.stop();
  watcher.stop();
  delete_rule(netns.get(), AF_INET);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(watcher.watch(netns.get(), kRouting, [](const NetnsChange&) {}));
  watcher.unwatch(1);
}

TEST_F(NetnsWatcherTest, RefusesWhatIsNoNamespace) {
  NetnsWatcher watcher;
  auto id = watcher.watch(0, kRouting, [](const NetnsChange&) {});
  ASSERT_FALSE(id);
  EXPECT_STREQ(id.error().system_call, "setns");
}

}  // namespace
}  // namespace hadal::net
