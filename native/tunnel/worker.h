// One thread, one epoll loop, and everything that belongs to it: pods, tunnels, certificates, tables,
// counters, buffers. Other threads may call post(), edges().add_to() and totals() and nothing else.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpf/shared/reasons.h"
#include "native/base/failure.h"
#include "native/h2/record_writer.h"
#include "native/net/event_loop.h"
#include "native/net/mailbox.h"
#include "native/net/output_buffer.h"
#include "native/tls/credentials.h"
#include "native/tunnel/command.h"
#include "native/tunnel/description.h"
#include "native/tunnel/edge_counters.h"
#include "native/tunnel/ending_flows.h"
#include "native/tunnel/events.h"
#include "native/tunnel/hbone_headers.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/settings.h"

namespace hadal::tunnel {

/// Written by the worker, read by anybody.
struct WorkerTotals {
  Counter questions;
  Counter questions_timed_out;
  Counter row_hits;
  Counter tunnels_opened;
  Counter tunnels_open;
  Counter streams_open;
  /// Connections that were open and ended early, by reason.
  std::array<Counter, HADAL_REASON_MAX> early_ends;
};

class Worker final : public net::EventHandler {
 public:
  static constexpr size_t kSlots = 16;
  static constexpr size_t kPlainBytes = size_t{256} * 1024;

  [[nodiscard]] static Result<std::unique_ptr<Worker>> create(uint32_t number,
                                                              std::shared_ptr<const Settings> settings,
                                                              EventSink& sink);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // From any thread.
  void post(Command command) { mailbox_.post(std::move(command)); }
  [[nodiscard]] const WorkerTotals& totals() const { return totals_; }
  [[nodiscard]] uint64_t cpu_microseconds() const;
  [[nodiscard]] const EdgeTable& edge_table() const { return edges_; }
  [[nodiscard]] uint32_t number() const { return number_; }
  /// Stops the thread and waits for it.
  void join();

  // On the worker's thread.
  [[nodiscard]] net::EventLoop& loop() { return *loop_; }
  [[nodiscard]] const Settings& settings() const { return *settings_; }
  [[nodiscard]] EdgeTable& edges() { return edges_; }
  [[nodiscard]] std::shared_ptr<const tls::Credentials> credentials(const std::string& identity) const;
  /// Null where nobody gave a list.
  [[nodiscard]] const std::shared_ptr<const tls::RevocationList>& revocations() const { return revocations_; }
  /// How many RST_STREAM this peer may send, whatever number of tunnels it opens.
  [[nodiscard]] std::shared_ptr<h2::TokenBucket> reset_budget(const std::string& identity,
                                                              const net::IpAddress& address);

  /// For frames that wait for company.
  [[nodiscard]] net::DeadlineQueue& soon_deadlines() { return soon_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& connect_deadlines() { return connect_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& handshake_deadlines() { return handshake_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& question_deadlines() { return question_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& answer_deadlines() { return answer_deadlines_; }

  // Memory that whoever has its turn may use until it returns.
  [[nodiscard]] std::span<uint8_t> plain_buffer() { return {plain_.get(), kPlainBytes}; }
  [[nodiscard]] std::span<uint8_t> slots() { return {slots_.get(), kSlots * h2::kRecordBytes}; }
  [[nodiscard]] std::vector<iovec>& parts() { return parts_; }
  [[nodiscard]] h2::ChunkList& chunks() { return chunks_; }
  [[nodiscard]] net::BlockPool& output_blocks() { return output_blocks_; }
  [[nodiscard]] net::BlockPool& gather_blocks() { return gather_blocks_; }

  /// Payload that waits for its application, beside what the windows of the tunnels have room for. False when
  /// there is enough of it: then it holds back its tunnel, too.
  [[nodiscard]] bool lend(size_t bytes);
  void end_loan(size_t bytes) { lent_bytes_ -= bytes; }

  [[nodiscard]] std::vector<FlowRecord> live_flows();
  [[nodiscard]] std::vector<TunnelDescription> describe_tunnels();

  void mark_dirty(Tunnel& tunnel) { dirty_.push_back(tunnel); }

  void ask(Question&& question);
  /// They are refused now. Ends them abortively, some in each turn.
  void end_open(RowFlows& flows, uint16_t reason) { ending_.add(flows, reason); }
  void report(const FlowRecord& record);
  void log(LogLevel level, uint32_t pod_index, std::string message);
  void release(Pod& pod, bool tell);
  /// accept() without a free descriptor: gives one up to take the connection and reset it.
  void refuse_without_descriptor(int listener);

  void count_row_hit() { totals_.row_hits.add(1); }
  void count_question_timeout() { totals_.questions_timed_out.add(1); }
  void count_early_end(uint16_t reason) { totals_.early_ends.at(reason % HADAL_REASON_MAX).add(1); }
  void count_tunnel_opened() { totals_.tunnels_opened.add(1); }
  Counter& tunnels_open() { return totals_.tunnels_open; }
  Counter& streams_open() { return totals_.streams_open; }

  [[nodiscard]] uint64_t next_flow_id() { return flow_ids_++; }
  [[nodiscard]] uint64_t unix_us(int64_t monotonic_ns) const;
  [[nodiscard]] uint64_t random();
  [[nodiscard]] Traceparent make_traceparent() { return {random(), random(), random() | 1}; }

  template <typename Visit>
  void for_each_pod(Visit visit) {
    for (auto& [index, pod] : pods_) {
      visit(*pod);
    }
    for (auto& pod : retired_pods_) {
      visit(*pod);
    }
  }

  void on_ready(uint32_t events) override;

 private:
  /// A periodic call on the loop.
  struct Tick final : public net::Timed {
    Tick(net::DeadlineQueue& on, std::function<void()> what) : queue(on), call(std::move(what)) {}
    void on_deadline() override { call(); }
    net::DeadlineQueue& queue;
    std::function<void()> call;
  };

  Worker(uint32_t number, std::shared_ptr<const Settings> settings, EventSink& sink,
         std::unique_ptr<net::EventLoop> loop);

  void run();
  void end_turn();
  void send_flows();
  void maintain();
  void report_live_flows();
  void shut_down();

  void apply(AddPod&& command);
  void apply(SetPodAddresses&& command);
  void apply(SetPodHoldsMachine&& command);
  void apply(RemovePod&& command);
  void apply(SetIdentity&& command);
  void apply(RemoveIdentity&& command);
  void apply(SetRevocations&& command);
  void apply(PutOutboundRows&& command);
  void apply(RemoveOutboundRow&& command);
  void apply(PutInboundRows&& command);
  void apply(RemoveInboundRow&& command);
  void apply(AskAboutForgotten&& command);
  void apply(RemoveEdges&& command);
  void apply(Inspect&& command);
  void apply(StartDrain&& command);
  void apply(ForceDrain&& command);
  void apply(Stop&& command);
  [[nodiscard]] Pod* find_pod(uint32_t index);

  uint32_t number_;
  std::shared_ptr<const Settings> settings_;
  EventSink& sink_;
  std::unique_ptr<net::EventLoop> loop_;
  net::Mailbox<Command> mailbox_;
  std::vector<Command> commands_;
  WorkerTotals totals_;
  EdgeTable edges_;
  std::atomic<clockid_t> cpu_clock_{0};

  net::DeadlineQueue soon_deadlines_;
  net::DeadlineQueue connect_deadlines_;
  net::DeadlineQueue handshake_deadlines_;
  net::DeadlineQueue question_deadlines_;
  net::DeadlineQueue answer_deadlines_;
  net::DeadlineQueue maintenance_deadlines_;
  net::DeadlineQueue flow_deadlines_;
  net::DeadlineQueue batch_deadlines_;
  Tick maintenance_;
  Tick live_flows_;
  Tick flow_batch_;

  std::unique_ptr<uint8_t[]> plain_;
  std::unique_ptr<uint8_t[]> slots_;
  std::vector<iovec> parts_;
  h2::ChunkList chunks_;
  net::BlockPool output_blocks_;
  net::BlockPool gather_blocks_;
  UniqueFd spare_descriptor_;
  EndingFlows ending_;

  std::unordered_map<std::string, std::shared_ptr<const tls::Credentials>> credentials_;
  std::shared_ptr<const tls::RevocationList> revocations_;
  std::map<std::pair<std::string, net::IpAddress>, std::weak_ptr<h2::TokenBucket>> reset_budgets_;
  std::unordered_map<uint32_t, std::unique_ptr<Pod>> pods_;
  std::vector<std::unique_ptr<Pod>> retired_pods_;
  net::IntrusiveList<Tunnel, DirtyTag> dirty_;

  std::vector<Question> questions_;
  std::vector<FlowRecord> flows_;
  size_t lent_bytes_ = 0;
  uint64_t flow_ids_;
  uint64_t random_state_;
  int64_t unix_offset_ns_ = 0;
  bool draining_ = false;
  std::thread thread_;
};

}  // namespace hadal::tunnel
