// A thread for calls that may never return, such as reading a file whose file system is a program of somebody
// else's. Nobody waits for such a call: when its deadline has passed its thread is left behind, and another
// takes its place, until as many are left behind as may be.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "native/base/failure.h"

namespace hadal {

class AbandonableThread {
 public:
  struct Limits {
    std::chrono::milliseconds deadline;
    /// Threads left behind. With that many there is none to work, until one of them returns.
    size_t most_stuck;
    size_t most_waiting;
  };
  using Job = std::function<Result<std::string>()>;
  /// Called once, on a thread of this class or the caller's; must not block.
  using Done = std::function<void(Result<std::string>)>;

  explicit AbandonableThread(Limits limits);
  AbandonableThread(const AbandonableThread&) = delete;
  AbandonableThread& operator=(const AbandonableThread&) = delete;
  ~AbandonableThread() { stop(); }

  /// `key` names whose job it is: while one of theirs has not returned, no other of theirs is begun, so
  /// nobody can take all threads.
  void run(std::string key, Job job, Done done);
  [[nodiscard]] size_t stuck() const;
  /// Never waits for a job. Those that wait are failed.
  void stop();

 private:
  struct State;

  static void work(const std::shared_ptr<State>& state);
  static void watch(const std::shared_ptr<State>& state);
  static void start_worker(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace hadal
