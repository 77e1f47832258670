// Everything of the name service that its thread owns: pods, their sockets, and queries on their way.
// Nothing here is touched by another thread but the Desk.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "native/dns/answer_rows.h"
#include "native/dns/counters.h"
#include "native/dns/fair_queue.h"
#include "native/dns/pod.h"
#include "native/dns/settings.h"
#include "native/net/event_loop.h"

namespace hadal::dns {

/// Told on the service's thread, once until take() has found nothing.
class Listener {
 public:
  virtual void on_asked() = 0;

 protected:
  ~Listener() = default;
};

/// Where the thread and TypeScript meet.
struct Desk {
  explicit Desk(size_t most_waiting) : queue(most_waiting) {}

  std::mutex mutex;
  FairQueue queue;
  bool listener_told = false;
  /// Pods whose sockets are left unread until TypeScript has taken some of their queries.
  std::unordered_set<uint32_t> paused;
  std::unordered_map<uint32_t, AnswerCounts> answers;
  std::unordered_map<uint32_t, DropCounts> drops;
};

/// What TypeScript says to a query that it took.
struct Decision {
  enum class Kind : uint8_t {
    /// `row.message`, or the nameserver's answer where `row.forward`.
    row,
    /// The nameserver is asked `row.message`, and TypeScript gets its answer.
    ask,
    /// Nothing is said.
    drop,
  };
  Kind kind = Kind::drop;
  uint64_t id = 0;
  Row row{};
  /// Equal queries of the pod need not be asked again.
  bool keep = false;
};

class Server {
 public:
  Server(net::EventLoop& loop, const Settings& settings, Desk& desk, Listener& listener);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void add_pod(uint32_t pod_index, UniqueFd netns);
  void remove_pod(uint32_t pod_index);
  void serve(uint32_t pod_index, uint16_t slot, UniqueFd udp, UniqueFd tcp);
  void set_nameserver(uint32_t pod_index, uint16_t slot, const net::IpAddress& address);
  void set_labels(uint32_t pod_index, uint32_t labels);
  /// 0: of all pods.
  void forget_answers(uint32_t pod_index);
  void decide(Decision decision);
  /// Its asker does not wait any more.
  void drop_late(uint32_t pod_index, uint64_t id);
  /// TypeScript has taken some of what stood in the way of a pod's further queries.
  void resume(uint32_t pod_index);

  enum class Admission : uint8_t { taken, full };
  [[nodiscard]] Admission admit(Pod& pod, const Client& client, const std::string& message);
  void count_drops(const Pod& pod, Drop drop, uint64_t count);

  // For forwardings.
  void on_forwarded(Forwarding& forwarding, std::string answer);
  void on_forward_failed(Forwarding& forwarding, const std::string& why);

  [[nodiscard]] net::EventLoop& loop() { return loop_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] net::DeadlineQueue& upstream_deadlines() { return upstream_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& idle_deadlines() { return idle_deadlines_; }
  [[nodiscard]] net::DeadlineQueue& rate_deadlines() { return rate_deadlines_; }

 private:
  [[nodiscard]] Pod* pod_at(uint32_t pod_index);
  void use_row(Pod& pod, const Client& client, const std::string& message, Row& row);
  [[nodiscard]] bool post(Asked asked);
  void forward(Pod& pod, ForwardRequest request);
  void end(Forwarding& forwarding);

  net::EventLoop& loop_;
  const Settings& settings_;
  Desk& desk_;
  Listener& listener_;
  net::DeadlineQueue upstream_deadlines_;
  net::DeadlineQueue idle_deadlines_;
  net::DeadlineQueue rate_deadlines_;
  std::unordered_map<uint32_t, std::unique_ptr<Pod>> pods_;
  size_t forwardings_ = 0;
  /// Queries that TypeScript has, or will have.
  struct Outstanding {
    uint32_t pod_index;
    Client client;
    std::string message;
  };
  std::unordered_map<uint64_t, Outstanding> outstanding_;
  uint64_t last_id_ = 0;
  std::string key_;
  std::mt19937 random_;
};

}  // namespace hadal::dns
