// Promises that native threads keep, by number: a task on the ScriptChannel owns no references of
// JavaScript's, so it names the promise and finds it here, on the environment's thread.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "native/napi/env_data.h"
#include "native/napi/script_channel.h"

namespace hadal::napi {

class Promises {
 public:
  [[nodiscard]] static Promises& of(Napi::Env env) {
    return *EnvData::of(env).slot<Promises>([] { return std::shared_ptr<Promises>(new Promises()); });
  }

  struct Made {
    uint64_t id;
    Napi::Value promise;
  };
  [[nodiscard]] Made make(Napi::Env env) {
    napi_deferred deferred = nullptr;
    napi_value promise = nullptr;
    if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
      throw Napi::Error::New(env);
    }
    waiting_.emplace(++last_id_, deferred);
    return {last_id_, Napi::Value(env, promise)};
  }

  void resolve(Napi::Env env, uint64_t id, napi_value value) {
    const auto found = waiting_.find(id);
    if (found != waiting_.end()) {
      napi_resolve_deferred(env, found->second, value);
      waiting_.erase(found);
    }
  }

 private:
  Promises() = default;

  std::unordered_map<uint64_t, napi_deferred> waiting_;
  uint64_t last_id_ = 0;
};

}  // namespace hadal::napi
