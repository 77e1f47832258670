// Deadlines that are all the same time ahead: then arrival order is expiry order, and a plain list is the
// whole timer. A worker has one queue per duration (connect, handshake, question, ...), so arming costs two
// pointer writes.
#pragma once

#include <chrono>
#include <cstdint>

#include "native/net/intrusive_list.h"

namespace hadal::net {

struct DeadlineTag;
class Timed : public ListHook<DeadlineTag> {
 public:
  virtual void on_deadline() = 0;

  void disarm() { unlink(); }
  [[nodiscard]] bool armed() const { return linked(); }

 protected:
  ~Timed() = default;

 private:
  friend class DeadlineQueue;
  int64_t deadline_ns_ = 0;
};

class DeadlineQueue {
 public:
  explicit DeadlineQueue(std::chrono::nanoseconds after) : after_ns_(after.count()) {}

  void arm(Timed& timed, int64_t now_ns) {
    timed.deadline_ns_ = now_ns + after_ns_;
    armed_.push_back(timed);
  }

  /// INT64_MAX when nothing is armed.
  [[nodiscard]] int64_t next_ns() {
    Timed* first = armed_.front();
    return first == nullptr ? INT64_MAX : first->deadline_ns_;
  }

  void expire(int64_t now_ns) {
    while (Timed* first = armed_.front()) {
      if (first->deadline_ns_ > now_ns) {
        return;
      }
      first->unlink();
      first->on_deadline();
    }
  }

 private:
  int64_t after_ns_;
  IntrusiveList<Timed, DeadlineTag> armed_;
};

}  // namespace hadal::net
