// Fields of an object that JavaScript passed, read with their types checked and named when they are wrong.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "native/napi/errors.h"
#include "native/net/address.h"

namespace hadal::napi {

class ObjectFields {
 public:
  explicit ObjectFields(const Napi::Object& object) : object_(object) {}

  [[nodiscard]] std::string text(const char* name) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsString()) {
      refuse_type(name, "a string");
    }
    return value.As<Napi::String>().Utf8Value();
  }
  /// '' when absent.
  [[nodiscard]] std::string optional_text(const char* name) const {
    return object_.Get(name).IsUndefined() ? std::string() : text(name);
  }

  template <typename T>
  [[nodiscard]] T integer(const char* name, double lowest = 0,
                          double highest = std::numeric_limits<T>::max()) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsNumber()) {
      refuse_type(name, "a number");
    }
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= lowest && number <= highest) || number != std::floor(number)) {
      throw_argument_range(object_.Env(), std::string(name) + " must be a whole number from " +
                                              std::to_string(static_cast<int64_t>(lowest)) + " to " +
                                              std::to_string(static_cast<int64_t>(highest)));
    }
    return static_cast<T>(number);
  }

  [[nodiscard]] bool flag(const char* name) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsBoolean() && !value.IsUndefined()) {
      refuse_type(name, "a boolean");
    }
    return value.IsBoolean() && value.As<Napi::Boolean>().Value();
  }

  [[nodiscard]] ObjectFields object(const char* name) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsObject()) {
      refuse_type(name, "an object");
    }
    return ObjectFields(value.As<Napi::Object>());
  }
  [[nodiscard]] bool has(const char* name) const { return !object_.Get(name).IsUndefined(); }

  [[nodiscard]] Napi::Array array(const char* name) const {
    const Napi::Value value = object_.Get(name);
    if (!value.IsArray()) {
      refuse_type(name, "an array");
    }
    return value.As<Napi::Array>();
  }

  [[nodiscard]] std::vector<std::string> texts(const char* name) const {
    const Napi::Array items = array(name);
    std::vector<std::string> out;
    for (uint32_t i = 0; i < items.Length(); ++i) {
      const Napi::Value item = items.Get(i);
      if (!item.IsString()) {
        refuse_type(name, "an array of strings");
      }
      out.push_back(item.As<Napi::String>().Utf8Value());
    }
    return out;
  }

  [[nodiscard]] net::IpAddress address(const char* name) const {
    const std::string value = text(name);
    const auto parsed = net::IpAddress::parse(value);
    if (!parsed) {
      throw_argument_range(object_.Env(), std::string(name) + " '" + value + "' is not an IP address");
    }
    return *parsed;
  }

  [[nodiscard]] net::SocketAddress endpoint(const char* address_name, const char* port_name) const {
    return {address(address_name), integer<uint16_t>(port_name)};
  }

 private:
  [[noreturn]] void refuse_type(const char* name, const char* expected) const {
    throw type_error(object_.Env(), "ERR_INVALID_ARG_TYPE", std::string(name) + " must be " + expected);
  }

  Napi::Object object_;
};

}  // namespace hadal::napi
