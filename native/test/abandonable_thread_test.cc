// Jobs that do not return until the test lets them.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "native/base/abandonable_thread.h"

namespace hadal {
namespace {

using namespace std::chrono_literals;

constexpr AbandonableThread::Limits kLimits{.deadline = 300ms, .most_stuck = 2, .most_waiting = 8};

class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    opened_.notify_all();
  }
  Result<std::string> wait() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [&] { return is_open_; });
    return "late";
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
};

/// What a job came to: its text, or why not.
class Outcome {
 public:
  AbandonableThread::Done done() {
    return [this](Result<std::string> result) {
      const std::lock_guard lock(mutex_);
      ++times_;
      text_ = result ? *result : result.error().message;
      is_good_ = result.has_value();
      told_.notify_all();
    };
  }
  std::string text() {
    std::unique_lock lock(mutex_);
    told_.wait_for(lock, 10s, [&] { return times_ > 0; });
    return text_;
  }
  bool is_good() {
    (void)text();
    const std::lock_guard lock(mutex_);
    return is_good_;
  }
  int times() {
    const std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  int times_ = 0;
  std::string text_;
  bool is_good_ = false;
};

AbandonableThread::Job quick() {
  return [] { return Result<std::string>("read"); };
}

bool soon(const std::function<bool()>& what) {
  for (int i = 0; i < 500; ++i) {
    if (what()) {
      return true;
    }
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

TEST(AbandonableThread, JobsThatReturnAreDoneInTurn) {
  Outcome one;
  Outcome other;
  AbandonableThread thread(kLimits);
  thread.run("a", quick(), one.done());
  thread.run(
      "b", [] { return Result<std::string>(failure("ERR_X", "no")); }, other.done());
  EXPECT_EQ(one.text(), "read");
  EXPECT_EQ(other.text(), "no");
  EXPECT_EQ(thread.stuck(), 0u);
}

TEST(AbandonableThread, OneThatDoesNotReturnHoldsUpNobodyElse) {
  Gate gate;
  Outcome stuck;
  Outcome again;
  Outcome other;
  Outcome later;
  AbandonableThread thread(kLimits);
  thread.run(
      "a", [&] { return gate.wait(); }, stuck.done());
  thread.run("b", quick(), other.done());
  EXPECT_EQ(stuck.text(), "no answer within 300 ms; its thread is left behind");
  EXPECT_EQ(other.text(), "read");
  EXPECT_EQ(thread.stuck(), 1u);
  thread.run("a", quick(), again.done());
  EXPECT_EQ(again.text(), "an earlier call for it has not returned");
  gate.open();
  EXPECT_TRUE(soon([&] { return thread.stuck() == 0; }));
  EXPECT_EQ(stuck.times(), 1) << "what comes late is nobody's";
  thread.run("a", quick(), later.done());
  EXPECT_EQ(later.text(), "read");
}

TEST(AbandonableThread, ABoundedNumberIsLeftBehindAndWorkGoesOnWhenOneReturns) {
  Gate gate;
  Outcome one;
  Outcome two;
  Outcome waiting;
  Outcome refused;
  Outcome later;
  AbandonableThread thread(kLimits);
  thread.run(
      "a", [&] { return gate.wait(); }, one.done());
  thread.run(
      "b", [&] { return gate.wait(); }, two.done());
  thread.run("c", quick(), waiting.done());
  EXPECT_FALSE(waiting.is_good()) << waiting.text();
  EXPECT_EQ(thread.stuck(), 2u);
  thread.run("d", quick(), refused.done());
  EXPECT_EQ(refused.text(), "2 calls have not returned, no more are begun until one of them does");
  gate.open();
  EXPECT_TRUE(soon([&] { return thread.stuck() == 0; }));
  thread.run("d", quick(), later.done());
  EXPECT_EQ(later.text(), "read");
}

TEST(AbandonableThread, StopsWithoutWaitingForWhatDoesNotReturn) {
  auto gate = std::make_shared<Gate>();
  Outcome running;
  Outcome waiting;
  Outcome after;
  const auto started = std::chrono::steady_clock::now();
  {
    AbandonableThread thread({.deadline = 60s, .most_stuck = 2, .most_waiting = 8});
    thread.run(
        "a", [gate] { return gate->wait(); }, running.done());
    thread.run("b", quick(), waiting.done());
    std::this_thread::sleep_for(20ms);
    thread.stop();
    thread.run("c", quick(), after.done());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, 5s);
  EXPECT_EQ(running.text(), "the agent ends");
  EXPECT_EQ(waiting.text(), "the agent ends");
  EXPECT_EQ(after.text(), "the agent ends");
  gate->open();
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(running.times(), 1);
}

TEST(AbandonableThread, HoldsABoundedNumberOfJobs) {
  Gate gate;
  std::array<Outcome, 4> outcomes;
  std::atomic<bool> has_begun = false;
  AbandonableThread thread({.deadline = 60s, .most_stuck = 2, .most_waiting = 2});
  const auto slow = [&] {
    has_begun = true;
    return gate.wait();
  };
  thread.run("a", slow, outcomes[0].done());
  EXPECT_TRUE(soon([&] { return has_begun.load(); }));
  for (size_t i = 1; i < outcomes.size(); ++i) {
    thread.run("b", quick(), outcomes[i].done());
  }
  EXPECT_EQ(outcomes[3].text(), "2 calls wait for their turn");
  gate.open();
  EXPECT_EQ(outcomes[2].text(), "read");
  EXPECT_EQ(outcomes[0].text(), "late");
}

}  // namespace
}  // namespace hadal
