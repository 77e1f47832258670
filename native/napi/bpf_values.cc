#include "native/napi/bpf_values.h"

#include <cmath>
#include <cstring>

#include "native/napi/arguments.h"

namespace hadal::napi {
namespace {

const char* kind_name(bpf::Type::Kind kind) {
  switch (kind) {
    case bpf::Type::Kind::integer:
      return "int";
    case bpf::Type::Kind::enumeration:
      return "enum";
    case bpf::Type::Kind::array:
      return "array";
    case bpf::Type::Kind::structure:
      return "struct";
    case bpf::Type::Kind::union_type:
      return "union";
    case bpf::Type::Kind::opaque:
      break;
  }
  return "opaque";
}

Napi::Array members_of(Napi::Env env, const bpf::Type& type) {
  Napi::Array out = Napi::Array::New(env, type.members.size());
  for (uint32_t i = 0; i < type.members.size(); ++i) {
    const bpf::Member& member = type.members[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", member.name);
    entry.Set("offset", member.bit_offset / 8);
    if (member.bit_size != 0) {
      entry.Set("bitOffset", member.bit_offset);
      entry.Set("bitSize", member.bit_size);
    }
    entry.Set("type", to_script(env, member.type));
    out.Set(i, entry);
  }
  return out;
}

}  // namespace

Napi::Value to_script(Napi::Env env, const bpf::TypePtr& type) {
  if (type == nullptr) {
    return env.Undefined();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("kind", kind_name(type->kind));
  out.Set("size", type->size);
  switch (type->kind) {
    case bpf::Type::Kind::integer:
      out.Set("name", type->name);
      out.Set("signed", Napi::Boolean::New(env, type->is_signed));
      out.Set("bool", Napi::Boolean::New(env, type->is_bool));
      break;
    case bpf::Type::Kind::enumeration: {
      Napi::Object values = Napi::Object::New(env);
      for (const auto& [name, value] : type->values) {
        values.Set(name, Napi::Number::New(env, static_cast<double>(value)));
      }
      out.Set("name", type->name);
      out.Set("signed", Napi::Boolean::New(env, type->is_signed));
      out.Set("values", values);
      break;
    }
    case bpf::Type::Kind::array:
      out.Set("length", type->length);
      out.Set("element", to_script(env, type->element));
      break;
    case bpf::Type::Kind::structure:
    case bpf::Type::Kind::union_type:
      out.Set("name", type->name);
      out.Set("members", members_of(env, *type));
      break;
    case bpf::Type::Kind::opaque:
      out.Set("name", type->name);
      break;
  }
  return out;
}

Napi::Uint8Array to_script(Napi::Env env, std::span<const uint8_t> bytes) {
  Napi::Uint8Array out = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) {
    std::memcpy(out.Data(), bytes.data(), bytes.size());
  }
  return out;
}

std::vector<Napi::Uint8Array> split(Napi::Env env, std::span<const uint8_t> packed, size_t size,
                                    size_t count) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, packed.size());
  if (!packed.empty()) {
    std::memcpy(buffer.Data(), packed.data(), packed.size());
  }
  std::vector<Napi::Uint8Array> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    out.push_back(Napi::Uint8Array::New(env, size, buffer, i * size));
  }
  return out;
}

bpf::ReadOnlyValue read_only_argument(const Napi::CallbackInfo& info, size_t index) {
  const Napi::Value value = info[index];
  if (value.IsBoolean()) {
    return value.As<Napi::Boolean>().Value();
  }
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    // 2^53: beyond it a number does not say which integer is meant.
    if (number != std::floor(number) || std::abs(number) > 9007199254740991.0) {
      throw_argument_range(info.Env(), "value must be a whole number below 2^53; use a bigint beyond");
    }
    return bpf::Integer{.negative = number < 0, .magnitude = static_cast<uint64_t>(std::abs(number))};
  }
  if (value.IsBigInt()) {
    int sign = 0;
    size_t words = 1;
    uint64_t word = 0;
    value.As<Napi::BigInt>().ToWords(&sign, &words, &word);
    if (words > 1) {
      throw_argument_range(info.Env(), "value must fit 64 bits");
    }
    return bpf::Integer{.negative = sign != 0 && word != 0, .magnitude = word};
  }
  if (!value.IsTypedArray()) {
    throw_argument_type(info, index, "value", "a number, bigint, boolean or Uint8Array");
  }
  HADAL_ARG_BYTES(index, value_bytes);
  return value_bytes;
}

}  // namespace hadal::napi
