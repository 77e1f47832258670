// Ring buffers of BPF programs, read in batches.
//
// A RingBuffer is the consumer of one map; there must be no other, in this process or any. A RingPoller is
// one thread that waits for any number of them. A batch that has not been taken yet keeps its ring from being
// read on: what follows waits in the kernel's ring, where programs see that it is full, so memory stays
// bounded however slow the reader is.
//
// The thread sleeps until the kernel wakes it, which BPF_RB_NO_WAKEUP prevents: records submitted with that
// flag are read with the next record that wakes, or by flush().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "native/base/failure.h"
#include "native/base/poll_thread.h"
#include "native/base/unique_fd.h"
#include "native/bpf/map.h"

struct ring_buffer;

namespace hadal::bpf {

struct RecordBatch {
  std::vector<uint8_t> bytes;
  /// Where each record starts, and the end of the last: one more than there are records; empty when there are
  /// none.
  std::vector<uint32_t> offsets;

  [[nodiscard]] size_t count() const { return offsets.empty() ? 0 : offsets.size() - 1; }
};

struct RingBufferSettings {
  /// A record is handed out at most this long after it woke the poller.
  std::chrono::milliseconds interval{100};
  /// A batch ends with the record that reaches this size.
  size_t max_batch_bytes = 1 << 20;
};

class RingBuffer {
 public:
  [[nodiscard]] static Result<std::shared_ptr<RingBuffer>> open(const Map& map,
                                                                const RingBufferSettings& settings);
  ~RingBuffer() { close(); }
  RingBuffer(const RingBuffer&) = delete;
  RingBuffer& operator=(const RingBuffer&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int fd() const { return map_fd_.get(); }
  [[nodiscard]] const RingBufferSettings& settings() const { return settings_; }
  /// Size of the ring itself.
  [[nodiscard]] size_t ring_bytes() const { return ring_bytes_; }

  /// Moves records into the batch to be taken; true when one waits. Any thread.
  [[nodiscard]] bool collect();
  /// The batch that was collected; empty when there is none. Any thread.
  [[nodiscard]] RecordBatch take();
  /// More was there than the last batch could hold.
  [[nodiscard]] bool has_more();
  /// So full that waiting longer could lose records.
  [[nodiscard]] bool is_filling();
  /// Any thread; calls after it find nothing.
  void close();

 private:
  RingBuffer() = default;
  [[nodiscard]] static int on_record(void* self, void* data, size_t size);
  [[nodiscard]] size_t waiting_bytes() const;

  std::string name_;
  RingBufferSettings settings_;
  UniqueFd map_fd_;
  size_t ring_bytes_ = 0;
  std::mutex mutex_;
  // Below: under the mutex.
  ring_buffer* ring_ = nullptr;
  const volatile uint64_t* consumer_position_ = nullptr;
  const volatile uint64_t* producer_position_ = nullptr;
  RecordBatch batch_;
  bool cut_ = false;
};

class RingPoller final : PollThread::Work {
 public:
  RingPoller() = default;
  RingPoller(const RingPoller&) = delete;
  RingPoller& operator=(const RingPoller&) = delete;
  ~RingPoller() { stop(); }

  /// `ready` is called on the poller's thread when a batch waits to be taken; after taking it, call `resume`.
  [[nodiscard]] Result<uint64_t> add(std::shared_ptr<RingBuffer> ring, std::function<void()> ready);
  void resume(uint64_t id);
  void remove(uint64_t id);
  /// Ends the thread and waits for it. Final.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::shared_ptr<RingBuffer> ring;
    std::function<void()> ready;
    Clock::time_point due;
    bool is_due = false;
  };

  [[nodiscard]] Result<void> start();
  [[nodiscard]] int before_sleep() override;
  void on_ready(uint64_t id) override;
  void arm(uint64_t id, const Entry& entry, int operation);

  std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_;  // under the mutex
  uint64_t last_id_ = 0;
  bool stopped_ = false;
  PollThread thread_;
};

}  // namespace hadal::bpf
