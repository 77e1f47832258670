#include "native/base/abandonable_thread.h"

#include <dlfcn.h>
#include <pthread.h>

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace hadal {
namespace {

constexpr const char* kStuckCode = "ERR_NATIVE_STUCK";

using Clock = std::chrono::steady_clock;

/// A thread that is left behind still has our code under it when the addon is unloaded with its environment.
void keep_code_loaded() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&keep_code_loaded), &info) != 0 && info.dli_fname != nullptr) {
    (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NODELETE | RTLD_NOLOAD);
  }
}

/// Signals are for Node's threads.
template <typename Body>
std::thread quiet_thread(const char* name, Body body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread made([name, body = std::move(body)] {
    pthread_setname_np(pthread_self(), name);
    body();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return made;
}

}  // namespace

struct AbandonableThread::State {
  struct Run {
    std::string key;
    Job job;
    Done done;
    Clock::time_point deadline;
    bool abandoned = false;
  };

  explicit State(Limits given) : limits(given) {}

  const Limits limits;
  std::mutex mutex;
  std::condition_variable for_worker;
  std::condition_variable for_watch;
  std::deque<std::shared_ptr<Run>> waiting;
  /// What the worker does now.
  std::shared_ptr<Run> current;
  std::set<std::string> stuck_keys;
  bool has_worker = false;
  bool stopping = false;
  std::thread worker;
  std::thread watcher;

  [[nodiscard]] std::unexpected<Failure> too_many() const {
    return failure(kStuckCode, std::to_string(stuck_keys.size()) +
                                   " calls have not returned, no more are begun until one of them does");
  }
};

AbandonableThread::AbandonableThread(Limits limits) : state_(std::make_shared<State>(limits)) {}

void AbandonableThread::run(std::string key, Job job, Done done) {
  State& state = *state_;
  std::unexpected<Failure> refusal = failure(kStuckCode, "an earlier call for it has not returned");
  {
    const std::lock_guard lock(state.mutex);
    if (!state.watcher.joinable() && !state.stopping) {
      state.watcher = quiet_thread("hadal-patience", [shared = state_] { watch(shared); });
      start_worker(state_);
    }
    if (state.stopping) {
      refusal = failure(kStuckCode, "the agent ends");
    } else if (state.stuck_keys.contains(key)) {
      // As it says.
    } else if (!state.has_worker) {
      refusal = state.too_many();
    } else if (state.waiting.size() >= state.limits.most_waiting) {
      refusal = failure(kStuckCode, std::to_string(state.waiting.size()) + " calls wait for their turn");
    } else {
      state.waiting.push_back(std::make_shared<State::Run>(
          State::Run{.key = std::move(key), .job = std::move(job), .done = std::move(done), .deadline = {}}));
      state.for_worker.notify_one();
      return;
    }
  }
  done(refusal);
}

size_t AbandonableThread::stuck() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stuck_keys.size();
}

void AbandonableThread::stop() {
  State& state = *state_;
  std::deque<std::shared_ptr<State::Run>> dropped;
  std::thread worker;
  {
    const std::lock_guard lock(state.mutex);
    if (std::exchange(state.stopping, true)) {
      return;
    }
    dropped.swap(state.waiting);
    if (state.current != nullptr) {
      dropped.push_back(std::exchange(state.current, nullptr));
      dropped.back()->abandoned = true;
      state.worker.detach();
      state.stuck_keys.insert(dropped.back()->key);
    }
    if (!state.stuck_keys.empty()) {
      keep_code_loaded();
    }
    worker.swap(state.worker);
    state.for_worker.notify_all();
    state.for_watch.notify_all();
  }
  for (std::thread* thread : {&worker, &state.watcher}) {
    if (thread->joinable()) {
      thread->join();
    }
  }
  for (const auto& run : dropped) {
    run->done(failure(kStuckCode, "the agent ends"));
  }
}

/// With the mutex held.
void AbandonableThread::start_worker(const std::shared_ptr<State>& state) {
  state->worker = quiet_thread("hadal-reader", [state] { work(state); });
  state->has_worker = true;
}

void AbandonableThread::work(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->for_worker.wait(lock, [&] { return state->stopping || !state->waiting.empty(); });
    if (state->stopping) {
      return;
    }
    const std::shared_ptr<State::Run> run = std::move(state->waiting.front());
    state->waiting.pop_front();
    const bool begins = !state->stuck_keys.contains(run->key);
    if (begins) {
      run->deadline = Clock::now() + state->limits.deadline;
      state->current = run;
      state->for_watch.notify_one();
    }
    lock.unlock();
    auto result = begins ? run->job() : failure(kStuckCode, "an earlier call for it has not returned");
    lock.lock();
    if (run->abandoned) {
      state->stuck_keys.erase(run->key);
      // Another has taken its place, unless there were too many of its kind.
      if (state->has_worker || state->stopping) {
        return;
      }
      state->has_worker = true;
      continue;
    }
    state->current.reset();
    lock.unlock();
    run->done(std::move(result));
    lock.lock();
  }
}

void AbandonableThread::watch(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  while (!state->stopping) {
    if (state->current == nullptr) {
      state->for_watch.wait(lock);
      continue;
    }
    const std::shared_ptr<State::Run> run = state->current;
    const auto is_over = [&] { return state->stopping || state->current != run; };
    if (state->for_watch.wait_until(lock, run->deadline, is_over)) {
      continue;
    }
    run->abandoned = true;
    state->current.reset();
    state->stuck_keys.insert(run->key);
    if (state->worker.joinable()) {
      state->worker.detach();
    }
    state->has_worker = false;
    std::deque<std::shared_ptr<State::Run>> dropped;
    std::unexpected<Failure> refusal = state->too_many();
    if (state->stuck_keys.size() < state->limits.most_stuck) {
      start_worker(state);
    } else {
      dropped.swap(state->waiting);
    }
    lock.unlock();
    run->done(failure(kStuckCode, "no answer within " + std::to_string(state->limits.deadline.count()) +
                                      " ms; its thread is left behind"));
    for (const auto& each : dropped) {
      each->done(refusal);
    }
    lock.lock();
  }
}

}  // namespace hadal
