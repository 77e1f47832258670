#include "native/napi/arguments.h"
#include "native/napi/bpf_handles.h"
#include "native/napi/bpf_values.h"

namespace hadal::napi {
namespace {

bpf::SetMode set_mode(const Napi::CallbackInfo& info, size_t index) {
  if (info[index].IsUndefined()) {
    return bpf::SetMode::any;
  }
  const std::string mode = string_argument(info, index, "flags");
  if (mode == "any") {
    return bpf::SetMode::any;
  }
  if (mode == "create") {
    return bpf::SetMode::create;
  }
  if (mode == "replace") {
    return bpf::SetMode::replace;
  }
  throw_argument_range(info.Env(), "flags must be 'any', 'create' or 'replace', not '" + mode + "'");
}

}  // namespace

std::vector<napi_property_descriptor> BpfMap::properties() {
  using H = Handle<BpfMap>;
  return {H::property<&BpfMap::name>("name"),
          H::property<&BpfMap::type>("type"),
          H::property<&BpfMap::id>("id"),
          H::getter<&BpfMap::fd>("fd"),
          H::property<&BpfMap::key_size>("keySize"),
          H::property<&BpfMap::value_size>("valueSize"),
          H::property<&BpfMap::max_entries>("maxEntries"),
          H::property<&BpfMap::key_type>("keyType"),
          H::property<&BpfMap::value_type>("valueType"),
          H::method<&BpfMap::get>("get"),
          H::method<&BpfMap::set>("set"),
          H::method<&BpfMap::remove>("delete"),
          H::method<&BpfMap::set_socket>("setSocket"),
          H::method<&BpfMap::set_for_socket>("setForSocket"),
          H::method<&BpfMap::get_for_socket>("getForSocket"),
          H::method<&BpfMap::delete_for_socket>("deleteForSocket"),
          H::method<&BpfMap::keys>("keys"),
          H::method<&BpfMap::entries>("entries"),
          H::method<&BpfMap::set_batch>("setBatch"),
          H::method<&BpfMap::delete_batch>("deleteBatch"),
          H::method<&BpfMap::pin>("pin")};
}

Napi::Value BpfMap::name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), native_.name());
}

Napi::Value BpfMap::type(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), native_.type_name());
}

Napi::Value BpfMap::id(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), native_.id()); }

Napi::Value BpfMap::fd(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), native_.fd()); }

Napi::Value BpfMap::key_size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.key_size());
}

Napi::Value BpfMap::value_size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.value_size());
}

Napi::Value BpfMap::max_entries(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.max_entries());
}

Napi::Value BpfMap::key_type(const Napi::CallbackInfo& info) {
  return to_script(info.Env(), native_.key_type());
}

Napi::Value BpfMap::value_type(const Napi::CallbackInfo& info) {
  return to_script(info.Env(), native_.value_type());
}

Napi::Value BpfMap::get(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, key);
  std::vector<uint8_t> value(native_.value_bytes());
  const bool found = value_or_throw(info.Env(), native_.get(key, value));
  return found ? to_script(info.Env(), value).As<Napi::Value>() : info.Env().Undefined();
}

Napi::Value BpfMap::set(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, key);
  HADAL_ARG_BYTES(1, value);
  value_or_throw(info.Env(), native_.set(key, value, set_mode(info, 2)));
  return info.Env().Undefined();
}

Napi::Value BpfMap::remove(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, key);
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), native_.remove(key)));
}

Napi::Value BpfMap::set_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, key);
  HADAL_ARG_FD(1, socket_fd);
  value_or_throw(info.Env(), native_.set_socket(key, socket_fd));
  return info.Env().Undefined();
}

Napi::Value BpfMap::set_for_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, socket_fd);
  HADAL_ARG_BYTES(1, value);
  value_or_throw(info.Env(), native_.set_for_socket(socket_fd, value));
  return info.Env().Undefined();
}

Napi::Value BpfMap::get_for_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, socket_fd);
  std::vector<uint8_t> value(native_.value_bytes());
  const bool found = value_or_throw(info.Env(), native_.get_for_socket(socket_fd, value));
  return found ? to_script(info.Env(), value).As<Napi::Value>() : info.Env().Undefined();
}

Napi::Value BpfMap::delete_for_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, socket_fd);
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), native_.remove_for_socket(socket_fd)));
}

Napi::Value BpfMap::keys(const Napi::CallbackInfo& info) {
  const bpf::PackedEntries found = value_or_throw(info.Env(), native_.keys());
  const auto keys = split(info.Env(), found.keys, native_.key_size(), found.count);
  Napi::Array out = Napi::Array::New(info.Env(), found.count);
  for (uint32_t i = 0; i < keys.size(); ++i) {
    out.Set(i, keys[i]);
  }
  return out;
}

Napi::Value BpfMap::entries(const Napi::CallbackInfo& info) {
  const bpf::PackedEntries found = value_or_throw(info.Env(), native_.entries());
  const auto keys = split(info.Env(), found.keys, native_.key_size(), found.count);
  const auto values = split(info.Env(), found.values, native_.value_bytes(), found.count);
  Napi::Array out = Napi::Array::New(info.Env(), found.count);
  for (uint32_t i = 0; i < keys.size(); ++i) {
    Napi::Array entry = Napi::Array::New(info.Env(), 2);
    entry.Set(0u, keys[i]);
    entry.Set(1u, values[i]);
    out.Set(i, entry);
  }
  return out;
}

Napi::Value BpfMap::set_batch(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, keys);
  HADAL_ARG_BYTES(1, values);
  const size_t written = value_or_throw(info.Env(), native_.set_batch(keys, values));
  return Napi::Number::New(info.Env(), static_cast<double>(written));
}

Napi::Value BpfMap::delete_batch(const Napi::CallbackInfo& info) {
  HADAL_ARG_BYTES(0, keys);
  const size_t removed = value_or_throw(info.Env(), native_.remove_batch(keys));
  return Napi::Number::New(info.Env(), static_cast<double>(removed));
}

Napi::Value BpfMap::pin(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  value_or_throw(info.Env(), native_.pin(path));
  return info.Env().Undefined();
}

}  // namespace hadal::napi
