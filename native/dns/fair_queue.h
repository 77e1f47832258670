// Queries that wait for TypeScript, and whose turn it is: the pod's that has cost the least so far. Costs are
// time that TypeScript has measured, so a pod whose queries are dear gets fewer answered, and one that asks
// rarely never waits behind another's flood. A pod that was idle begins where the others are: time not used
// is not saved.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "native/dns/message.h"

namespace hadal::dns {

/// What TypeScript is to decide on.
struct Asked {
  enum class Kind : uint8_t { query, answer, failure };

  Kind kind = Kind::query;
  Protocol protocol = Protocol::udp;
  uint16_t slot = 0;
  uint32_t pod_index = 0;
  uint64_t id = 0;
  int64_t arrived_ns = 0;
  /// The query; or the answer that a nameserver gave when TypeScript asked it, or why there is none.
  std::string message{};
};

class FairQueue {
 public:
  explicit FairQueue(size_t most_per_pod) : most_per_pod_(most_per_pod) {}

  /// False: the pod has as many waiting as may. Answers always have room, since their queries had it.
  [[nodiscard]] bool push(Asked&& asked);
  [[nodiscard]] std::optional<Asked> take();
  /// What the pod's last one cost.
  void charge(uint32_t pod_index, uint64_t cost);
  void remove(uint32_t pod_index);

  [[nodiscard]] bool empty() const { return turns_.empty(); }
  [[nodiscard]] size_t waiting(uint32_t pod_index) const;

 private:
  struct Pod {
    std::deque<Asked> waiting;
    uint64_t spent = 0;
  };

  size_t most_per_pod_;
  std::unordered_map<uint32_t, Pod> pods_;
  /// Pods with something waiting, by what they have spent.
  std::set<std::pair<uint64_t, uint32_t>> turns_;
  uint64_t served_at_ = 0;
};

}  // namespace hadal::dns
