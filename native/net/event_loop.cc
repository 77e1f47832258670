#include "native/net/event_loop.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace hadal::net {
namespace {

int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

bool watch(int epoll, int fd, uint32_t events, EventHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) {
    return system_failure("ERR_TUNNEL_LOOP", "create an epoll instance", "epoll_create1", errno);
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(epoll)));
  loop->refresh_clock();
  return loop;
}

bool EventLoop::watch_socket(int fd, EventHandler& handler) {
  return watch(epoll_.get(), fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, handler);
}

bool EventLoop::watch_source(int fd, EventHandler& handler) {
  return watch(epoll_.get(), fd, EPOLLIN, handler);
}

void EventLoop::unwatch(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void EventLoop::run() {
  while (!stopped_) {
    run_turn(wait());
  }
  dispose_all();
}

void EventLoop::run_turn(int count) {
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events_[static_cast<size_t>(i)];
    static_cast<EventHandler*>(event.data.ptr)->on_ready(event.events);
  }
  IntrusiveList<Resumable, AgainTag> round;
  round.take_all(again_);
  while (Resumable* task = round.pop_front()) {
    task->on_resume();
  }
  for (DeadlineQueue* queue : deadlines_) {
    queue->expire(now_ns_);
  }
  if (turn_end_) {
    turn_end_();
  }
  dispose_all();
}

void EventLoop::dispose_all() {
  // Destructors may dispose of more.
  while (!disposed_.empty()) {
    std::vector<std::unique_ptr<Disposable>> dead;
    dead.swap(disposed_);
  }
}

int EventLoop::wait() {
  if (!again_.empty()) {
    const int count = epoll_wait(epoll_.get(), events_.data(), kBatch, 0);
    refresh_clock();
    return std::max(count, 0);
  }
  const int spun = spin();
  if (spun > 0) {
    return spun;
  }
  const int64_t asleep_since = now_ns_;
  const int count = epoll_wait(epoll_.get(), events_.data(), kBatch, timeout_ms());
  refresh_clock();
  // A moving average over about four sleeps, so one long pause between requests does not end the spinning.
  expected_sleep_ns_ += (now_ns_ - asleep_since - expected_sleep_ns_) / 4;
  return std::max(count, 0);
}

// Two wake-ups saved per relay are worth most of what a relay adds to a lone round trip, but only while
// requests follow each other closely: the last sleeps have to have been shorter than the spin would be.
// Who spins gives way at every look: on a busy CPU the thread it waits for may be queued behind it, which
// without the yield showed in the slowest tenth of round trips and in those of many connections.
int EventLoop::spin() {
  if (spin_limit_ns_ == 0 || expected_sleep_ns_ > spin_limit_ns_) {
    return 0;
  }
  const int64_t since = now_ns_;
  do {
    const int count = epoll_wait(epoll_.get(), events_.data(), kBatch, 0);
    refresh_clock();
    if (count > 0) {
      ++spin_statistics_.hits;
      expected_sleep_ns_ += (now_ns_ - since - expected_sleep_ns_) / 4;
      return count;
    }
    sched_yield();
  } while (now_ns_ - since < spin_limit_ns_);
  ++spin_statistics_.misses;
  return 0;
}

int EventLoop::timeout_ms() const {
  int64_t next_ns = INT64_MAX;
  for (DeadlineQueue* queue : deadlines_) {
    next_ns = std::min(next_ns, queue->next_ns());
  }
  if (next_ns == INT64_MAX) {
    return -1;
  }
  const int64_t wait_ns = std::max<int64_t>(next_ns - now_ns_, 0);
  return static_cast<int>(std::min<int64_t>((wait_ns + 999'999) / 1'000'000, 60'000));
}

void EventLoop::refresh_clock() { now_ns_ = monotonic_ns(); }

}  // namespace hadal::net
