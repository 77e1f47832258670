// One epoll loop on one thread. Sockets are registered edge-triggered: an owner remembers what is ready and
// asks for another turn when it stopped early, so interest never has to be changed, and EPOLLERR or EPOLLHUP,
// which cannot be masked, come once instead of spinning the thread.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/deadline_queue.h"
#include "native/net/intrusive_list.h"

namespace hadal::net {

class EventHandler {
 public:
  virtual void on_ready(uint32_t events) = 0;

 protected:
  ~EventHandler() = default;
};

struct AgainTag;
/// Something that stopped early for fairness and wants another turn before the loop sleeps.
class Resumable : public ListHook<AgainTag> {
 public:
  virtual void on_resume() = 0;

 protected:
  ~Resumable() = default;
};

/// Destroyed only after the turn, so events of the same batch never meet a dead handler.
class Disposable {
 public:
  virtual ~Disposable() = default;
};

struct SpinStatistics {
  uint64_t hits = 0;
  uint64_t misses = 0;
};

class EventLoop {
 public:
  [[nodiscard]] static Result<std::unique_ptr<EventLoop>> create();

  /// Edge-triggered for reads, writes and the peer's end.
  [[nodiscard]] bool watch_socket(int fd, EventHandler& handler);
  /// Level-triggered for reads: listeners and the mailbox.
  [[nodiscard]] bool watch_source(int fd, EventHandler& handler);
  void unwatch(int fd);

  void resume_later(Resumable& task) { again_.push_back(task); }
  void resume_all(IntrusiveList<Resumable, AgainTag>& tasks) { again_.take_all(tasks); }
  void dispose(std::unique_ptr<Disposable> object) { disposed_.push_back(std::move(object)); }
  void add_deadlines(DeadlineQueue& queue) { deadlines_.push_back(&queue); }
  /// Called at the end of each turn, before the loop may sleep.
  void set_turn_end(std::function<void()> turn_end) { turn_end_ = std::move(turn_end); }

  /// Busy polling before sleep, at most this long; 0 is off.
  void set_spin(std::chrono::nanoseconds limit) { spin_limit_ns_ = limit.count(); }

  void run();
  void stop() { stopped_ = true; }
  /// Destroys what was handed over; the last thing on a thread that ends.
  void dispose_all();

  /// Monotonic time of the turn, in ns.
  [[nodiscard]] int64_t now_ns() const { return now_ns_; }
  [[nodiscard]] const SpinStatistics& spin_statistics() const { return spin_statistics_; }

 private:
  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}

  [[nodiscard]] int wait();
  [[nodiscard]] int spin();
  [[nodiscard]] int timeout_ms() const;
  void run_turn(int count);
  void refresh_clock();

  static constexpr int kBatch = 256;

  UniqueFd epoll_;
  std::array<epoll_event, kBatch> events_{};
  IntrusiveList<Resumable, AgainTag> again_;
  std::vector<std::unique_ptr<Disposable>> disposed_;
  std::vector<DeadlineQueue*> deadlines_;
  std::function<void()> turn_end_;
  int64_t now_ns_ = 0;
  int64_t spin_limit_ns_ = 0;
  int64_t expected_sleep_ns_ = 0;
  SpinStatistics spin_statistics_;
  bool stopped_ = false;
};

}  // namespace hadal::net
