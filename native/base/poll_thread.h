// A thread of ours that sleeps in epoll until a descriptor is ready, a time has come or somebody wakes it.
// What it does when it is awake is the owner's business.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"

namespace hadal {

class PollThread {
 public:
  /// Called on the thread.
  class Work {
   public:
    /// Before each sleep: how many milliseconds it may last, -1 until something happens.
    virtual int before_sleep() = 0;
    virtual void on_ready(uint64_t id) = 0;

   protected:
    ~Work() = default;
  };

  PollThread() = default;
  PollThread(const PollThread&) = delete;
  PollThread& operator=(const PollThread&) = delete;
  ~PollThread() { stop(); }

  /// `name` is what the kernel calls the thread: 15 characters. `code` is that of a failure.
  [[nodiscard]] Result<void> start(const char* name, const char* code, Work& work);
  [[nodiscard]] bool started() const { return thread_.joinable(); }
  /// Waits for the thread: the owner holds no lock that its work takes.
  void stop();

  // From any thread, once started.
  /// EPOLL_CTL_ADD or EPOLL_CTL_MOD; `id` is not 0. False with errno set.
  bool watch(int operation, int fd, uint32_t events, uint64_t id);
  void unwatch(int fd);
  /// Another before_sleep().
  void wake();

 private:
  void run(Work& work);

  UniqueFd epoll_;
  UniqueFd wake_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace hadal
