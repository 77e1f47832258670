// Counters per edge (who talks to whom), kept by one worker and read by any thread. A worker adds without
// atomics' price: it is the only writer, so a relaxed load and store are enough.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hadal::tunnel {

class Counter {
 public:
  /// Only on the worker's thread.
  void add(uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void subtract(uint64_t amount) { add(~amount + 1); }
  [[nodiscard]] uint64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct EdgeCounter {
  explicit EdgeCounter(uint32_t number) : edge(number) {}

  const uint32_t edge;
  Counter opened;
  Counter closed;
  /// Refused, or failed before bytes could flow.
  Counter failed;
  Counter bytes_sent;
  Counter bytes_received;

 private:
  friend class EdgeTable;
  uint32_t users_ = 0;
  bool removed_ = false;
};

struct EdgeTotals {
  uint64_t opened = 0;
  uint64_t closed = 0;
  uint64_t failed = 0;
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;
};

struct EdgeSnapshot {
  std::map<uint32_t, EdgeTotals> edges;
  /// (edge, reason) to count.
  std::map<std::pair<uint32_t, uint16_t>, uint64_t> failures;
};

class EdgeTable {
 public:
  /// The counter stays valid until release(), also when TypeScript forgets the edge meanwhile.
  [[nodiscard]] EdgeCounter& use(uint32_t edge);
  void release(EdgeCounter& counter);
  void count_failure(uint32_t edge, uint16_t reason);
  void remove(std::span<const uint32_t> edges);

  /// From any thread: adds this worker's numbers.
  void add_to(EdgeSnapshot& snapshot) const;

 private:
  void erase(uint32_t edge);

  /// Guards the shape of the maps and the failures, not the counters.
  mutable std::mutex mutex_;
  std::unordered_map<uint32_t, std::unique_ptr<EdgeCounter>> edges_;
  std::map<std::pair<uint32_t, uint16_t>, uint64_t> failures_;
};

}  // namespace hadal::tunnel
