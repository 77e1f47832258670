#include "native/napi/script_channel.h"

#include <exception>
#include <utility>

#include "native/napi/env_data.h"

namespace hadal::napi {

std::shared_ptr<ScriptChannel> ScriptChannel::of(Napi::Env env) {
  auto channel = EnvData::of(env).slot<ScriptChannel>(
      [] { return std::shared_ptr<ScriptChannel>(new ScriptChannel()); });
  if (channel->wake_ == nullptr) {
    channel->open(env, channel);
  }
  return channel;
}

void ScriptChannel::open(Napi::Env env, std::shared_ptr<ScriptChannel> self) {
  const auto deliver = [](napi_env raw, napi_value, void* context, void*) {
    if (raw != nullptr) {  // nullptr: the environment is going
      static_cast<ScriptChannel*>(context)->run(raw);
    }
  };
  const napi_value name = Napi::String::New(env, "hadal native events");
  napi_threadsafe_function wake = nullptr;
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, deliver,
                                      &wake) != napi_ok ||
      napi_unref_threadsafe_function(env, wake) != napi_ok) {  // Rule 1
    throw Napi::Error::New(env);
  }
  // Hooks run in reverse order, so this one comes before the thread-safe function's own. It owns a share: the
  // slot in EnvData goes later, but in an order that is not ours.
  auto* share = new std::shared_ptr<ScriptChannel>(std::move(self));
  const auto hook = [](void* data) {
    auto* channel = static_cast<std::shared_ptr<ScriptChannel>*>(data);
    (*channel)->shut();
    delete channel;
  };
  const std::lock_guard lock(mutex_);
  wake_ = wake;
  napi_add_env_cleanup_hook(env, hook, share);
}

bool ScriptChannel::post(Task task) {
  const std::lock_guard lock(mutex_);
  if (wake_ == nullptr) {
    dropped_.fetch_add(1, std::memory_order_relaxed);  // Rule 3
    return false;
  }
  tasks_.push_back(std::move(task));
  if (tasks_.size() == 1) {
    napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);  // Rule 2
  }
  return true;
}

void ScriptChannel::shut() {
  std::vector<Task> dropped;
  const std::lock_guard lock(mutex_);  // Rule 3
  dropped.swap(tasks_);
  dropped_.fetch_add(dropped.size(), std::memory_order_relaxed);
  napi_release_threadsafe_function(std::exchange(wake_, nullptr), napi_tsfn_abort);
}

void ScriptChannel::run(Napi::Env env) {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (Task& task : tasks) {
    const Napi::HandleScope scope(env);
    // The outer net: an environment that is being terminated refuses even to make the exception.
    try {
      try {
        task(env);
      } catch (const Napi::Error& error) {
        napi_fatal_exception(env, error.Value());  // Rule 5
      } catch (const std::exception& error) {
        napi_fatal_exception(env, Napi::Error::New(env, error.what()).Value());
      }
    } catch (...) {
    }
  }
}

}  // namespace hadal::napi
