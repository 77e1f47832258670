// Network namespaces for tests of the data path: two pods joined by a veth pair, dual stack, with the routing
// that the agent sets up around captured traffic. Addresses of the `service` range lead to the pod itself,
// where steering captures them.
#pragma once

#include <string>

#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::test {

inline constexpr uint32_t kMark = 0x4841;

/// Why these tests cannot run here; empty when they can.
[[nodiscard]] std::string missing_for_pod_world();

struct TestPod {
  std::string netns;
  UniqueFd netns_fd;
  net::IpAddress v4;
  net::IpAddress v6;
};

class PodWorld {
 public:
  PodWorld();
  ~PodWorld();
  PodWorld(const PodWorld&) = delete;
  PodWorld& operator=(const PodWorld&) = delete;

  /// 10.1.0.1 and fd01::1.
  TestPod client;
  /// 10.1.0.2 and fd01::2.
  TestPod server;

 private:
  void set_up(TestPod& pod, const std::string& device, const std::string& number);
};

/// Runs a command, throws when it fails.
void run(const std::string& command);

}  // namespace hadal::test
