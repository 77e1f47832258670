// From worker threads to the listener of createTunnel: gathered here, told once per batch. Bounded, so a
// JavaScript thread that is busy loses the oldest news of ended flows, counted, and never the process its
// memory.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "native/h2/flood_guard.h"
#include "native/napi/script_channel.h"
#include "native/tunnel/events.h"

namespace hadal::napi {

class TunnelMail final : public tunnel::EventSink, public std::enable_shared_from_this<TunnelMail> {
 public:
  explicit TunnelMail(std::shared_ptr<ScriptChannel> channel) : channel_(std::move(channel)) {}

  /// Once the listener is subscribed.
  void set_subscription(uint64_t subscription) { subscription_ = subscription; }

  void on_questions(std::vector<tunnel::Question>&& questions) override;
  void on_flows(std::vector<tunnel::FlowRecord>&& flows) override;
  void on_log(tunnel::LogLine&& line) override;
  void on_pod_drained(uint32_t pod_index) override;

 private:
  struct Batch {
    std::vector<tunnel::Question> questions;
    std::vector<tunnel::FlowRecord> flows;
    std::vector<tunnel::LogLine> log;
    std::vector<uint32_t> drained_pods;
    uint64_t flows_lost = 0;
    uint64_t log_lost = 0;
  };

  template <typename Put>
  void put(Put put);
  void deliver(Napi::Env env);
  [[nodiscard]] static Napi::Object to_script(Napi::Env env, const Batch& batch);

  std::shared_ptr<ScriptChannel> channel_;
  uint64_t subscription_ = 0;
  std::mutex mutex_;
  /// Anybody can make a handshake fail, as often as it likes.
  h2::TokenBucket log_budget_{100, 1'000};
  Batch batch_;
  bool told_ = false;
};

}  // namespace hadal::napi
