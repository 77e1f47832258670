// The way from native threads back to JavaScript: one per environment.
//
// Rules:
//  1. Made once per environment, on its thread, and unref'd at once: it never keeps a process alive.
//  2. post() may be called from any thread at any time. It wakes JavaScript once per batch, not once per
//  task.
//  3. It is shut in an environment cleanup hook, under the mutex that post() takes; from then on tasks are
//  dropped and
//     counted. So a native thread may outlive the environment by a moment, but never reaches into it.
//  4. A dropped task is destroyed on whichever thread dropped it: tasks own native things only, no Napi
//  references.
//  5. A task that throws ends like an uncaught exception of a timer: 'uncaughtException', then the next task
//  runs.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace hadal::napi {

class ScriptChannel {
 public:
  using Task = std::function<void(Napi::Env)>;

  /// The environment's channel. Only on the environment's thread.
  [[nodiscard]] static std::shared_ptr<ScriptChannel> of(Napi::Env env);

  ~ScriptChannel() = default;
  ScriptChannel(const ScriptChannel&) = delete;
  ScriptChannel& operator=(const ScriptChannel&) = delete;

  /// Runs `task` on the environment's thread, soon. False when the environment is gone.
  bool post(Task task);

  [[nodiscard]] uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  ScriptChannel() = default;
  void open(Napi::Env env, std::shared_ptr<ScriptChannel> self);
  void shut();
  void run(Napi::Env env);

  std::mutex mutex_;
  std::vector<Task> tasks_;
  napi_threadsafe_function wake_ = nullptr;  // nullptr: not open, or shut
  std::atomic<uint64_t> dropped_ = 0;
};

}  // namespace hadal::napi
