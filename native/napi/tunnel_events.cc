#include "native/napi/tunnel_events.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "native/napi/subscriptions.h"
#include "native/napi/tunnel_results.h"

namespace hadal::napi {
namespace {

constexpr size_t kMostFlows = 65'536;
constexpr size_t kMostLogLines = 1'000;

const char* level_name(tunnel::LogLevel level) {
  switch (level) {
    case tunnel::LogLevel::debug:
      return "debug";
    case tunnel::LogLevel::info:
      return "info";
    case tunnel::LogLevel::warn:
      return "warn";
    case tunnel::LogLevel::error:
      return "error";
  }
  return "info";
}

}  // namespace

template <typename Put>
void TunnelMail::put(Put put) {
  const std::lock_guard lock(mutex_);
  put(batch_);
  if (!std::exchange(told_, true)) {
    told_ = channel_->post([self = shared_from_this()](Napi::Env env) { self->deliver(env); });
  }
}

void TunnelMail::on_questions(std::vector<tunnel::Question>&& questions) {
  put([&](Batch& batch) { std::ranges::move(questions, std::back_inserter(batch.questions)); });
}

void TunnelMail::on_flows(std::vector<tunnel::FlowRecord>&& flows) {
  put([&](Batch& batch) {
    const size_t room = kMostFlows - std::min(kMostFlows, batch.flows.size());
    const size_t taken = std::min(room, flows.size());
    batch.flows.insert(batch.flows.end(), flows.begin(), flows.begin() + static_cast<ptrdiff_t>(taken));
    batch.flows_lost += flows.size() - taken;
  });
}

void TunnelMail::on_log(tunnel::LogLine&& line) {
  if (line.level != tunnel::LogLevel::error) {
    const std::lock_guard lock(mutex_);
    if (!log_budget_.take(std::chrono::steady_clock::now().time_since_epoch().count())) {
      ++batch_.log_lost;  // told with the next batch
      return;
    }
  }
  put([&](Batch& batch) {
    if (batch.log.size() < kMostLogLines) {
      batch.log.push_back(std::move(line));
    } else {
      ++batch.log_lost;
    }
  });
}

void TunnelMail::on_pod_drained(uint32_t pod_index) {
  put([&](Batch& batch) { batch.drained_pods.push_back(pod_index); });
}

void TunnelMail::deliver(Napi::Env env) {
  Batch batch;
  {
    const std::lock_guard lock(mutex_);
    batch = std::exchange(batch_, {});
    told_ = false;
  }
  const Napi::Function listener = Subscriptions::of(env).listener(subscription_);
  if (!listener.IsEmpty()) {
    listener.Call({to_script(env, batch)});
  }
}

Napi::Object TunnelMail::to_script(Napi::Env env, const Batch& batch) {
  Napi::Object out = Napi::Object::New(env);
  Napi::Array questions = Napi::Array::New(env, batch.questions.size());
  for (uint32_t i = 0; i < batch.questions.size(); ++i) {
    questions.Set(i, question_to_script(env, batch.questions[i]));
  }
  Napi::Array log = Napi::Array::New(env);
  const auto add_line = [&](const char* level, const std::string& message, uint32_t pod_index) {
    Napi::Object line = Napi::Object::New(env);
    line.Set("level", level);
    line.Set("message", message);
    if (pod_index != 0) {
      line.Set("podIndex", pod_index);
    }
    log.Set(log.Length(), line);
  };
  for (const tunnel::LogLine& line : batch.log) {
    add_line(level_name(line.level), line.message, line.pod_index);
  }
  if (batch.log_lost > 0) {
    add_line("warn", std::to_string(batch.log_lost) + " log lines of the tunnel were dropped", 0);
  }
  Napi::Array drained = Napi::Array::New(env, batch.drained_pods.size());
  for (uint32_t i = 0; i < batch.drained_pods.size(); ++i) {
    drained.Set(i, batch.drained_pods[i]);
  }
  out.Set("questions", questions);
  out.Set("flows", flows_to_script(env, batch.flows));
  out.Set("flowsLost", static_cast<double>(batch.flows_lost));
  out.Set("drainedPods", drained);
  out.Set("log", log);
  return out;
}

}  // namespace hadal::napi
