// Guards at the top of each native function: they name the argument, then leave a checked constant of that
// name. TypeScript has validated already and explains better; these keep a caller without types from crashing
// the process.
//
//   Napi::Value open_netns(const Napi::CallbackInfo& info) {
//     HADAL_ARG_STRING(0, path);
//     ...
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "native/napi/errors.h"

namespace hadal::napi {

inline std::string string_argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) {
    throw_argument_type(info, index, name, "a string");
  }
  std::string value = info[index].As<Napi::String>().Utf8Value();
  // Everything here ends in a C string: what follows a NUL would silently be ignored.
  if (value.find('\0') != std::string::npos) {
    throw_argument_range(info.Env(), std::string(name) + " must not contain a NUL character");
  }
  return value;
}

/// Valid during the call: the memory belongs to JavaScript.
inline std::span<uint8_t> bytes_argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsTypedArray() ||
      info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw_argument_type(info, index, name, "a Uint8Array");
  }
  auto array = info[index].As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

inline double integer_in_range(const Napi::CallbackInfo& info, size_t index, const char* name, double lowest,
                               double highest) {
  if (!info[index].IsNumber()) {
    throw_argument_type(info, index, name, "a number");
  }
  const double value = info[index].As<Napi::Number>().DoubleValue();
  if (!(value >= lowest && value <= highest) || value != std::floor(value)) {
    throw_argument_range(info.Env(), std::string(name) + " must be a whole number from " +
                                         std::to_string(static_cast<int64_t>(lowest)) + " to " +
                                         std::to_string(static_cast<int64_t>(highest)));
  }
  return value;
}

inline Napi::Object object_argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsObject() || info[index].IsFunction()) {
    throw_argument_type(info, index, name, "an object");
  }
  return info[index].As<Napi::Object>();
}

inline Napi::Function function_argument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsFunction()) {
    throw_argument_type(info, index, name, "a function");
  }
  return info[index].As<Napi::Function>();
}

}  // namespace hadal::napi

#define HADAL_ARG_STRING(index, name) \
  const std::string name = ::hadal::napi::string_argument(info, index, #name)
#define HADAL_ARG_BYTES(index, name) \
  const std::span<const uint8_t> name = ::hadal::napi::bytes_argument(info, index, #name)
#define HADAL_ARG_UINT32(index, name)          \
  const uint32_t name = static_cast<uint32_t>( \
      ::hadal::napi::integer_in_range(info, index, #name, 0, std::numeric_limits<uint32_t>::max()))
/// A descriptor number; whether it is the right kind of file is for the kernel to say.
#define HADAL_ARG_FD(index, name)    \
  const int name = static_cast<int>( \
      ::hadal::napi::integer_in_range(info, index, #name, 0, std::numeric_limits<int>::max()))
#define HADAL_ARG_OBJECT(index, name) \
  const Napi::Object name = ::hadal::napi::object_argument(info, index, #name)
#define HADAL_ARG_FUNCTION(index, name) \
  const Napi::Function name = ::hadal::napi::function_argument(info, index, #name)
/// A handle of class `Type` (handle.h) that is open.
#define HADAL_ARG_HANDLE(Type, index, name) \
  Type& name = ::hadal::napi::Handle<Type>::argument(info, index, #name)
