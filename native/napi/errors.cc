#include "native/napi/errors.h"

namespace hadal::napi {
namespace {

const char* kind_of(const Napi::Value& value) {
  if (value.IsEmpty() || value.IsUndefined()) {
    return "nothing";
  }
  if (value.IsNull()) {
    return "null";
  }
  if (value.IsFunction()) {
    return "a function";
  }
  if (value.IsArray()) {
    return "an array";
  }
  if (value.IsTypedArray()) {
    return "a typed array of another kind";
  }
  if (value.IsObject()) {
    return "an object";
  }
  if (value.IsString()) {
    return "a string";
  }
  if (value.IsNumber()) {
    return "a number";
  }
  if (value.IsBoolean()) {
    return "a boolean";
  }
  return value.IsBigInt() ? "a bigint" : "something else";
}

// C++ names arguments in snake case, their reader knows them in camel case.
std::string camel_case(const char* name) {
  std::string out;
  for (const char* c = name; *c != '\0'; ++c) {
    if (*c == '_' && c[1] != '\0') {
      ++c;
      out.push_back(static_cast<char>(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
    } else {
      out.push_back(*c);
    }
  }
  return out;
}

}  // namespace

Napi::Error to_error(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  if (failure.error_number != 0) {
    error.Set("errno", Napi::Number::New(env, failure.error_number));
  }
  if (failure.system_call != nullptr) {
    error.Set("syscall", Napi::String::New(env, failure.system_call));
  }
  if (!failure.verifier_log.empty()) {
    error.Set("verifierLog", Napi::String::New(env, failure.verifier_log));
  }
  return error;
}

Napi::Error type_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::TypeError::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

void throw_argument_type(const Napi::CallbackInfo& info, size_t index, const char* name,
                         const char* expected) {
  const char* got = index < info.Length() ? kind_of(info[index]) : "nothing";
  throw type_error(info.Env(), "ERR_INVALID_ARG_TYPE",
                   camel_case(name) + " must be " + expected + ", not " + got);
}

void throw_argument_range(Napi::Env env, const std::string& message) {
  Napi::Error error = Napi::RangeError::New(env, message);
  error.Set("code", Napi::String::New(env, "ERR_OUT_OF_RANGE"));
  throw error;
}

}  // namespace hadal::napi
