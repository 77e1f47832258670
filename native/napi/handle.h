// A JavaScript object that owns one native value.
//
// Rules, held by the tests in test/native:
//  1. Only native code makes handles: `new handle.constructor()` throws.
//  2. Each class has a random type tag; a method called on anything else (another class, a subclass made by
//  hand, the
//     prototype, an object of another copy of the addon) throws ERR_HANDLE_TYPE and touches nothing.
//  3. close() may be called any number of times. Other methods on a closed handle throw ERR_HANDLE_CLOSED
//  with its name.
//  4. A handle that is collected closes what it owns. That is a net, not a plan: when it happens nobody
//  knows.
//  5. Destructors never call JavaScript, so they may run while the environment is being torn down.
//
// A class T for Handle<T> has: kClassName; kTag; `static std::vector<napi_property_descriptor> properties()`
// made with Handle<T>::method, ::getter and ::property; `bool is_open() const`; `void close()`; `std::string
// describe() const`.
#pragma once

#include <napi.h>

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "native/napi/env_data.h"
#include "native/napi/errors.h"

namespace hadal::napi {

/// Runs `body` and turns what it throws into a pending JavaScript exception: nothing passes Node's C frames.
template <typename Body>
napi_value callback(napi_env env, Body body) noexcept {
  try {
    return body();
  } catch (const Napi::Error& error) {
    // An environment that is being terminated takes no exceptions, and making one throws again.
    try {
      napi_throw(env, error.Value());
    } catch (...) {
    }
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "ERR_NATIVE", "out of memory in native code");
  } catch (const std::exception& error) {
    napi_throw_error(env, "ERR_NATIVE", error.what());
  }
  return nullptr;
}

template <typename T>
class Handle {
 public:
  /// The JavaScript object that owns `native` from now on.
  [[nodiscard]] static Napi::Object create(Napi::Env env, std::unique_ptr<T> native) {
    EnvData& data = EnvData::of(env);
    auto [entry, fresh] = data.constructors.try_emplace(&T::kTag);
    if (fresh) {
      entry->second = Napi::Persistent(define(env));
      entry->second.SuppressDestruct();  // the environment frees its references itself
    }
    struct Guard {
      EnvData& data;
      ~Guard() { data.under_construction = nullptr; }
    } const guard{data};
    data.under_construction = native.get();
    const Napi::Object object = entry->second.New({});
    (void)native.release();  // `construct` has wrapped it
    return object;
  }

  /// The native half of `value`, or nullptr when it is anything else.
  [[nodiscard]] static T* unwrap(Napi::Env env, napi_value value) {
    napi_valuetype type = napi_undefined;
    bool tagged = false;
    void* native = nullptr;
    if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
        napi_check_object_type_tag(env, value, &T::kTag, &tagged) != napi_ok || !tagged ||
        napi_unwrap(env, value, &native) != napi_ok) {
      return nullptr;
    }
    return static_cast<T*>(native);
  }

  [[nodiscard]] static T& argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
    T* native = index < info.Length() ? unwrap(info.Env(), info[index]) : nullptr;
    if (native == nullptr) {
      throw type_error(info.Env(), "ERR_HANDLE_TYPE",
                       std::string(name) + " must be a " + T::kClassName + " of this addon");
    }
    require_open(info.Env(), *native);
    return *native;
  }

  static void require_open(Napi::Env env, const T& native) {
    if (!native.is_open()) {
      throw to_error(env, Failure{.code = "ERR_HANDLE_CLOSED",
                                  .message = native.describe() + " is closed",
                                  .error_number = 0,
                                  .system_call = nullptr,
                                  .verifier_log = {}});
    }
  }

  /// A method that needs the handle open.
  template <auto Method>
  [[nodiscard]] static napi_property_descriptor method(const char* name) {
    return {name, nullptr, invoke<Method, true>, nullptr, nullptr, nullptr, napi_default_method, nullptr};
  }
  /// A property that needs the handle open (a descriptor's number must not outlive it).
  template <auto Method>
  [[nodiscard]] static napi_property_descriptor getter(const char* name) {
    return {name, nullptr, nullptr, invoke<Method, true>, nullptr, nullptr, napi_enumerable, nullptr};
  }
  /// A property that can be read after close.
  template <auto Method>
  [[nodiscard]] static napi_property_descriptor property(const char* name) {
    return {name, nullptr, nullptr, invoke<Method, false>, nullptr, nullptr, napi_enumerable, nullptr};
  }

 private:
  static Napi::Function define(Napi::Env env) {
    std::vector<napi_property_descriptor> properties = T::properties();
    properties.push_back({"close", nullptr, invoke<&T::close_from_script, false>, nullptr, nullptr, nullptr,
                          napi_default_method, nullptr});
    napi_value constructor = nullptr;
    const napi_status status = napi_define_class(env, T::kClassName, NAPI_AUTO_LENGTH, construct, nullptr,
                                                 properties.size(), properties.data(), &constructor);
    if (status != napi_ok) {
      throw Napi::Error::New(env);
    }
    return {env, constructor};
  }

  static napi_value construct(napi_env raw_env, napi_callback_info raw_info) {
    return callback(raw_env, [&]() -> napi_value {
      const Napi::CallbackInfo info(raw_env, raw_info);
      auto* native = static_cast<T*>(std::exchange(EnvData::of(info.Env()).under_construction, nullptr));
      if (native == nullptr) {
        throw type_error(info.Env(), "ERR_HANDLE_TYPE",
                         std::string(T::kClassName) + " is made by the addon, not by its constructor");
      }
      const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
      napi_value self = info.This();
      if (napi_type_tag_object(raw_env, self, &T::kTag) != napi_ok ||
          napi_wrap(raw_env, self, native, finalize, nullptr, nullptr) != napi_ok) {
        throw Napi::Error::New(info.Env());
      }
      return self;
    });
  }

  template <auto Method, bool needs_open>
  static napi_value invoke(napi_env raw_env, napi_callback_info raw_info) {
    return callback(raw_env, [&]() -> napi_value {
      const Napi::CallbackInfo info(raw_env, raw_info);
      T* native = unwrap(info.Env(), info.This());
      if (native == nullptr) {
        throw type_error(info.Env(), "ERR_HANDLE_TYPE",
                         std::string("this method belongs to a ") + T::kClassName + " of this addon");
      }
      if constexpr (needs_open) {
        require_open(info.Env(), *native);
      }
      return (native->*Method)(info);
    });
  }
};

/// For classes whose close() needs nothing of JavaScript.
template <typename T>
struct Closeable {
  Napi::Value close_from_script(const Napi::CallbackInfo& info) {
    static_cast<T*>(this)->close();
    return info.Env().Undefined();
  }
};

}  // namespace hadal::napi
