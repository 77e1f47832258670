// A whole agent for tests: the core, and decisions made by two functions instead of TypeScript.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "native/test/support/certificates.h"
#include "native/test/support/pod_world.h"
#include "native/test/support/steering.h"
#include "native/tunnel/core.h"

namespace hadal::test {

inline constexpr uint16_t kHbonePort = 15008;

class TestAgent final : public tunnel::EventSink {
 public:
  using DecideOutbound = std::function<std::optional<tunnel::OutboundRow>(const tunnel::OutboundQuestion&)>;
  using DecideInbound = std::function<std::optional<tunnel::InboundRow>(const tunnel::InboundQuestion&)>;

  explicit TestAgent(tunnel::Settings settings);
  ~TestAgent();

  /// Decisions; a question without an answer stays open.
  DecideOutbound decide_outbound;
  DecideInbound decide_inbound;

  /// Enrols the pod and steers its traffic.
  void enrol(uint32_t pod_index, const TestPod& pod, const tls::IdentityMaterial& identity);

  [[nodiscard]] tunnel::TunnelCore& core() { return *core_; }
  /// Of the pod that was enrolled last.
  [[nodiscard]] const tunnel::PodListeners& listeners() const { return listeners_; }

  [[nodiscard]] std::vector<tunnel::FlowRecord> flows();
  /// Waits up to 5 s for a flow record that satisfies `wanted`.
  [[nodiscard]] std::optional<tunnel::FlowRecord> wait_for_flow(
      const std::function<bool(const tunnel::FlowRecord&)>& wanted);
  [[nodiscard]] std::vector<std::string> log_lines();
  [[nodiscard]] size_t question_count() const { return questions_.load(); }
  [[nodiscard]] std::vector<uint32_t> drained_pods();

  void on_questions(std::vector<tunnel::Question>&& questions) override;
  void on_flows(std::vector<tunnel::FlowRecord>&& flows) override;
  void on_log(tunnel::LogLine&& line) override;
  void on_pod_drained(uint32_t pod_index) override;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<tunnel::FlowRecord> flows_;
  std::vector<std::string> log_lines_;
  std::vector<uint32_t> drained_pods_;
  std::atomic<size_t> questions_{0};
  tunnel::PodListeners listeners_;
  std::vector<std::unique_ptr<Steering>> steering_;
  std::unique_ptr<tunnel::TunnelCore> core_;
};

/// Everything on the service range goes to `endpoint`'s HBONE port, authority `upstream`.
[[nodiscard]] TestAgent::DecideOutbound tunnel_to(const net::IpAddress& endpoint,
                                                  const net::SocketAddress& upstream,
                                                  const std::string& peer_identity, uint32_t edge = 7);
/// Allows everything: the authority's port on the pod itself.
[[nodiscard]] TestAgent::DecideInbound allow_to(const net::IpAddress& pod, uint32_t edge = 8);

}  // namespace hadal::test
