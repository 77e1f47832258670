// One agent with one pod, programs in the pod, and peers that mean it harm from another.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "native/test/support/hostile_peer.h"
#include "native/test/support/pod_world.h"
#include "native/test/support/sockets.h"
#include "native/test/support/test_agent.h"

namespace hadal::test {

inline constexpr const char* kFrontId = "spiffe://cluster.local/ns/shop/sa/front";
inline constexpr const char* kCatalogId = "spiffe://cluster.local/ns/shop/sa/catalog";

/// A program in a pod that treats every connection the same way.
class Program {
 public:
  Program(int netns_fd, const net::SocketAddress& address, std::function<void(int fd)> serve);
  ~Program();

 private:
  UniqueFd listener_;
  std::function<void(int fd)> serve_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::vector<int> open_;
  std::thread acceptor_;
};

class HostilePeers : public testing::Test {
 protected:
  void SetUp() override;
  /// Whatever happened: a peer from before and one that comes now are served, and nothing is left.
  void TearDown() override;

  virtual void adjust(tunnel::Settings& /*settings*/) {}

  [[nodiscard]] std::unique_ptr<HostilePeer> peer(const HostilePeer::Wish& wish) const;
  /// One with a certificate as it should be, TLS and HTTP/2 begun.
  [[nodiscard]] std::unique_ptr<HostilePeer> trusted_peer() const;
  [[nodiscard]] std::string echo_authority() const { return world->server.v4.text() + ":8080"; }
  [[nodiscard]] net::SocketAddress hbone() const { return {world->server.v4, kHbonePort}; }
  /// A peer that had a stream before the test began; it must say something now and then where silence is
  /// fatal.
  [[nodiscard]] HostilePeer& bystander() { return *bystander_; }
  /// Waits up to 5 s for a line that contains `text`.
  [[nodiscard]] bool logged(const std::string& text);

  CertificateAuthority ca{"test"};
  tls::IdentityMaterial front = ca.issue(kFrontId);
  std::unique_ptr<PodWorld> world;
  std::unique_ptr<TestAgent> agent;

 private:
  std::unique_ptr<Program> echo_;
  std::unique_ptr<HostilePeer> bystander_;
  size_t descriptors_before_ = 0;
};

[[nodiscard]] size_t open_descriptors();
[[nodiscard]] size_t resident_bytes();
/// Sanitizers keep freed memory: there only the rest of a test counts.
[[nodiscard]] bool memory_is_comparable();
[[nodiscard]] bool eventually(const std::function<bool()>& holds,
                              std::chrono::milliseconds limit = std::chrono::seconds(5));

}  // namespace hadal::test
