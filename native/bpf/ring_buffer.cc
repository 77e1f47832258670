#include "native/bpf/ring_buffer.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "native/bpf/descriptor.h"
#include "native/bpf/log_capture.h"

namespace hadal::bpf {
namespace {

// While a ring waits for its interval to end, its fill is looked at this many times.
constexpr int kLooksPerInterval = 8;
constexpr std::chrono::nanoseconds kLongestLook = std::chrono::milliseconds(25);
// From this share on a ring is read at once.
constexpr size_t kFillingShare = 4;

size_t page_bytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

/// One page of a ring: its first holds the consumer's position, its second the producer's
/// (Documentation/bpf/ringbuf).
const volatile uint64_t* map_position(int fd, size_t page) {
  void* memory =
      ::mmap(nullptr, page_bytes(), PROT_READ, MAP_SHARED, fd, static_cast<off_t>(page * page_bytes()));
  return memory == MAP_FAILED ? nullptr : static_cast<const volatile uint64_t*>(memory);
}

void unmap_position(const volatile uint64_t*& position) {
  if (position != nullptr) {
    ::munmap(const_cast<uint64_t*>(std::exchange(position, nullptr)), page_bytes());
  }
}

}  // namespace

Result<std::shared_ptr<RingBuffer>> RingBuffer::open(const Map& map, const RingBufferSettings& settings) {
  if (map.type() != BPF_MAP_TYPE_RINGBUF) {
    return failure("ERR_BPF_RING_BUFFER",
                   "map " + map.name() + " is no ringbuf, its type is " + map.type_name());
  }
  std::shared_ptr<RingBuffer> ring(new RingBuffer());
  auto fd = duplicate(map.fd(), "map " + map.name());
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  ring->name_ = map.name();
  ring->settings_ = settings;
  ring->map_fd_ = std::move(*fd);
  ring->ring_bytes_ = map.max_entries();
  const LogCapture quiet;
  ring->ring_ = ring_buffer__new(ring->fd(), on_record, ring.get(), nullptr);
  if (ring->ring_ == nullptr) {
    return system_failure("ERR_BPF_RING_BUFFER", "cannot map ring buffer " + map.name(), "mmap", errno);
  }
  ring->consumer_position_ = map_position(ring->fd(), 0);
  ring->producer_position_ = map_position(ring->fd(), 1);
  if (ring->consumer_position_ == nullptr || ring->producer_position_ == nullptr) {
    return system_failure("ERR_BPF_RING_BUFFER", "cannot map the positions of ring buffer " + map.name(),
                          "mmap", errno);
  }
  return ring;
}

int RingBuffer::on_record(void* self, void* data, size_t size) {
  auto& ring = *static_cast<RingBuffer*>(self);
  RecordBatch& batch = ring.batch_;
  if (batch.offsets.empty()) {
    batch.offsets.push_back(0);
  }
  const auto* bytes = static_cast<const uint8_t*>(data);
  batch.bytes.insert(batch.bytes.end(), bytes, bytes + size);
  batch.offsets.push_back(static_cast<uint32_t>(batch.bytes.size()));
  // A negative answer ends the reading behind this record.
  ring.cut_ = batch.bytes.size() >= ring.settings_.max_batch_bytes;
  return ring.cut_ ? -E2BIG : 0;
}

bool RingBuffer::collect() {
  const std::lock_guard lock(mutex_);
  if (ring_ != nullptr && batch_.count() == 0) {
    cut_ = false;
    ring_buffer__consume(ring_);
  }
  return batch_.count() > 0;
}

RecordBatch RingBuffer::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(batch_, {});
}

size_t RingBuffer::waiting_bytes() const {
  return ring_ == nullptr ? 0 : static_cast<size_t>(*producer_position_ - *consumer_position_);
}

bool RingBuffer::has_more() {
  const std::lock_guard lock(mutex_);
  return cut_ && waiting_bytes() > 0;
}

bool RingBuffer::is_filling() {
  const std::lock_guard lock(mutex_);
  return waiting_bytes() > ring_bytes_ / kFillingShare;
}

void RingBuffer::close() {
  const std::lock_guard lock(mutex_);
  ring_buffer__free(std::exchange(ring_, nullptr));
  unmap_position(consumer_position_);
  unmap_position(producer_position_);
  batch_ = {};
  map_fd_.reset();
}

Result<void> RingPoller::start() {
  if (stopped_) {
    return failure("ERR_BPF_RING_BUFFER", "ring buffers are not read any more: the environment is ending");
  }
  return thread_.started() ? Result<void>{} : thread_.start("hadal-ringbuf", "ERR_BPF_RING_BUFFER", *this);
}

void RingPoller::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  thread_.stop();
  entries_.clear();
}

Result<uint64_t> RingPoller::add(std::shared_ptr<RingBuffer> ring, std::function<void()> ready) {
  const std::lock_guard lock(mutex_);
  if (auto started = start(); !started) {
    return std::unexpected(std::move(started.error()));
  }
  const uint64_t id = ++last_id_;
  const auto [entry, fresh] =
      entries_.emplace(id, Entry{.ring = std::move(ring), .ready = std::move(ready), .due = {}});
  arm(id, entry->second, EPOLL_CTL_ADD);
  return id;
}

void RingPoller::arm(uint64_t id, const Entry& entry, int operation) {
  // One event, then silence until armed again: a ring stays readable as long as it is not read. Arming looks
  // at once.
  thread_.watch(operation, entry.ring->fd(), EPOLLIN | EPOLLONESHOT, id);
}

void RingPoller::resume(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || stopped_) {
    return;
  }
  if (found->second.ring->has_more()) {
    found->second.due = Clock::now();
    found->second.is_due = true;
    thread_.wake();
  } else {
    arm(id, found->second, EPOLL_CTL_MOD);
  }
}

void RingPoller::remove(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found != entries_.end()) {
    thread_.unwatch(found->second.ring->fd());
    entries_.erase(found);
  }
}

void RingPoller::on_ready(uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(id); found != entries_.end()) {
    found->second.due = Clock::now() + found->second.ring->settings().interval;
    found->second.is_due = true;
  }
}

int RingPoller::before_sleep() {
  std::vector<std::function<void()>> ready;
  std::chrono::nanoseconds sleep = std::chrono::nanoseconds::max();
  {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) {
      if (!entry.is_due) {
        continue;
      }
      const auto left = entry.due - Clock::now();
      if (left.count() > 0 && !entry.ring->is_filling()) {
        sleep = std::min<std::chrono::nanoseconds>(
            {sleep, left, entry.ring->settings().interval / kLooksPerInterval, kLongestLook});
        continue;
      }
      entry.is_due = false;
      if (entry.ring->collect()) {
        ready.push_back(entry.ready);
      } else {
        arm(id, entry, EPOLL_CTL_MOD);
      }
    }
  }
  for (const auto& tell : ready) {
    tell();
  }
  if (sleep == std::chrono::nanoseconds::max()) {
    return -1;
  }
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(sleep).count());
}

}  // namespace hadal::bpf
