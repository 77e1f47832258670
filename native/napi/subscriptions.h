// Listeners of one environment that native threads call through its ScriptChannel.
//
// A subscription lives until it is closed or the environment ends: while it is open its handle and its
// listener are held, so dropping the handle does not silently end the events. Tasks name it by id and find
// nothing once it is closed.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "native/napi/env_data.h"

namespace hadal::napi {

class Subscriptions {
 public:
  [[nodiscard]] static Subscriptions& of(Napi::Env env) {
    return *EnvData::of(env).slot<Subscriptions>([&] {
      auto made = std::shared_ptr<Subscriptions>(new Subscriptions());
      // References go while the environment still stands.
      napi_add_env_cleanup_hook(
          env,
          [](void* data) {
            auto* self = static_cast<std::shared_ptr<Subscriptions>*>(data);
            (*self)->entries_.clear();
            delete self;
          },
          new std::shared_ptr<Subscriptions>(made));
      return made;
    });
  }

  [[nodiscard]] uint64_t add(const Napi::Function& listener) {
    entries_.emplace(++last_id_, Entry{.handle = {}, .listener = Napi::Persistent(listener)});
    return last_id_;
  }
  void hold(uint64_t id, const Napi::Object& handle) { entries_.at(id).handle = Napi::Persistent(handle); }
  void remove(uint64_t id) { entries_.erase(id); }

  /// Empty once it is closed. A value of its own, so the listener may close its own subscription.
  [[nodiscard]] Napi::Function listener(uint64_t id) const {
    const auto found = entries_.find(id);
    return found == entries_.end() ? Napi::Function() : found->second.listener.Value();
  }

 private:
  struct Entry {
    Napi::ObjectReference handle;
    Napi::FunctionReference listener;
  };
  Subscriptions() = default;

  std::unordered_map<uint64_t, Entry> entries_;
  uint64_t last_id_ = 0;
};

}  // namespace hadal::napi
