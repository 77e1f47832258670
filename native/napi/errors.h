// Failures become JavaScript errors here and nowhere else. C++ exceptions (Napi::Error) live only in
// native/napi: they start in these functions and end in `callback` of callback.h or in node-addon-api's own
// wrappers.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "native/base/failure.h"

namespace hadal::napi {

/// An Error with `code`, and `errno`, `syscall`, `verifierLog` when the failure has them.
[[nodiscard]] Napi::Error to_error(Napi::Env env, const Failure& failure);

/// The value, or throws the failure.
template <typename T>
T value_or_throw(Napi::Env env, Result<T>&& result) {
  if (!result) {
    throw to_error(env, result.error());
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

/// `ERR_INVALID_ARG_TYPE`: `<name> must be <expected>`, with what came instead.
[[noreturn]] void throw_argument_type(const Napi::CallbackInfo& info, size_t index, const char* name,
                                      const char* expected);
/// `ERR_OUT_OF_RANGE`
[[noreturn]] void throw_argument_range(Napi::Env env, const std::string& message);

/// A TypeError with a code.
[[nodiscard]] Napi::Error type_error(Napi::Env env, const char* code, const std::string& message);

}  // namespace hadal::napi
