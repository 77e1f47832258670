// The tunnel without Node: N workers and the commands that reach all of them. Called from one thread
// (JavaScript's, or a test's); events come on worker threads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "native/base/failure.h"
#include "native/tunnel/description.h"
#include "native/tunnel/edge_counters.h"
#include "native/tunnel/events.h"
#include "native/tunnel/rows.h"
#include "native/tunnel/settings.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

/// Descriptors per worker; owned by the workers, open until the pod is removed.
struct PodListeners {
  std::vector<int> outbound;
  std::vector<int> hbone;
  std::vector<int> plaintext;
};

struct Totals {
  uint64_t questions = 0;
  uint64_t questions_timed_out = 0;
  uint64_t row_hits = 0;
  uint64_t connections_open = 0;
  uint64_t tunnels_opened = 0;
  uint64_t tunnels_open = 0;
  uint64_t streams_open = 0;
  uint64_t parked = 0;
  std::vector<uint64_t> worker_cpu_us;
  /// Connections that were open and ended early, by reason; only reasons that occurred.
  std::map<uint16_t, uint64_t> early_ends;
};

struct DrainOutcome {
  uint64_t ended = 0;
  uint64_t forced = 0;
};

class TunnelCore {
 public:
  [[nodiscard]] static Result<std::unique_ptr<TunnelCore>> create(Settings settings, EventSink& sink);
  ~TunnelCore();
  TunnelCore(const TunnelCore&) = delete;
  TunnelCore& operator=(const TunnelCore&) = delete;

  [[nodiscard]] Result<PodListeners> add_pod(const PodSettings& settings);
  void set_pod_addresses(uint32_t pod_index, const std::vector<net::IpAddress>& addresses);
  void set_pod_holds_machine(uint32_t pod_index, bool holds);
  void remove_pod(uint32_t pod_index, bool keep_connections);

  [[nodiscard]] Result<void> set_identity(tls::IdentityMaterial material);
  void remove_identity(const std::string& identity);
  /// PEM. Handshakes of revoked peers are refused, their tunnels ended.
  [[nodiscard]] Result<void> set_revocations(const std::string& pem);

  void put_outbound_rows(std::vector<OutboundRow> rows);
  void remove_outbound_row(uint32_t pod_index, const net::SocketAddress& destination);
  void put_inbound_rows(std::vector<InboundRow> rows);
  void remove_inbound_row(const InboundKey& key);
  /// The mesh changed, and the rows with it: what lives without a row becomes a question.
  void ask_about_forgotten();
  void remove_edges(const std::vector<uint32_t>& edges);

  [[nodiscard]] EdgeSnapshot counters() const;
  [[nodiscard]] Totals totals() const;

  /// `done` comes once, on a worker thread (or at once when there is no worker any more).
  void live_flows(std::function<void(std::vector<FlowRecord>&&)> done);
  void describe_tunnels(std::function<void(std::vector<TunnelDescription>&&)> done);

  /// `done` comes once, on a thread of the core's.
  void drain(std::chrono::milliseconds deadline, std::function<void(DrainOutcome)> done);

  /// Ends everything and waits for the workers. The last call.
  void close();

 private:
  explicit TunnelCore(std::shared_ptr<const Settings> settings) : settings_(std::move(settings)) {}

  template <typename Make>
  void post_to_all(Make make);
  [[nodiscard]] uint64_t open_connections() const;
  void run_drain(std::chrono::milliseconds deadline, const std::function<void(DrainOutcome)>& done);

  std::shared_ptr<const Settings> settings_;
  std::vector<std::unique_ptr<Worker>> workers_;
  mutable std::mutex loads_mutex_;
  std::vector<std::shared_ptr<PodLoad>> loads_;
  std::mutex drain_mutex_;
  std::condition_variable drain_changed_;
  bool closing_ = false;
  std::thread drain_thread_;
};

}  // namespace hadal::tunnel
