#include "native/napi/arguments.h"
#include "native/napi/bpf_handles.h"
#include "native/napi/bpf_values.h"

namespace hadal::napi {
namespace {

Napi::Array strings(Napi::Env env, const std::vector<std::string>& values) {
  Napi::Array out = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) {
    out.Set(i, values[i]);
  }
  return out;
}

}  // namespace

std::vector<napi_property_descriptor> BpfObject::properties() {
  using H = Handle<BpfObject>;
  return {H::property<&BpfObject::name>("name"),
          H::getter<&BpfObject::map_names>("mapNames"),
          H::getter<&BpfObject::program_names>("programNames"),
          H::method<&BpfObject::set_read_only>("setReadOnly"),
          H::method<&BpfObject::reuse_map>("reuseMap"),
          H::method<&BpfObject::set_max_entries>("setMaxEntries"),
          H::method<&BpfObject::skip_program>("skipProgram"),
          H::method<&BpfObject::load>("load"),
          H::method<&BpfObject::map>("map"),
          H::method<&BpfObject::program>("program"),
          H::method<&BpfObject::type>("type")};
}

Napi::Value BpfObject::name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), native_.name());
}

Napi::Value BpfObject::map_names(const Napi::CallbackInfo& info) {
  return strings(info.Env(), native_.map_names());
}

Napi::Value BpfObject::program_names(const Napi::CallbackInfo& info) {
  return strings(info.Env(), native_.program_names());
}

Napi::Value BpfObject::set_read_only(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, variable);
  value_or_throw(info.Env(), native_.set_read_only(variable, read_only_argument(info, 1)));
  return info.Env().Undefined();
}

Napi::Value BpfObject::reuse_map(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  HADAL_ARG_HANDLE(BpfMap, 1, map);
  value_or_throw(info.Env(), native_.reuse_map(name, map.native()));
  return info.Env().Undefined();
}

Napi::Value BpfObject::set_max_entries(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  HADAL_ARG_UINT32(1, entries);
  value_or_throw(info.Env(), native_.set_max_entries(name, entries));
  return info.Env().Undefined();
}

Napi::Value BpfObject::skip_program(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  value_or_throw(info.Env(), native_.skip_program(name));
  return info.Env().Undefined();
}

Napi::Value BpfObject::load(const Napi::CallbackInfo& info) {
  value_or_throw(info.Env(), native_.load());
  return info.Env().Undefined();
}

Napi::Value BpfObject::map(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  return new_handle<BpfMap>(info.Env(), value_or_throw(info.Env(), native_.map(name)));
}

Napi::Value BpfObject::program(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  return new_handle<BpfProgram>(info.Env(), value_or_throw(info.Env(), native_.program(name)));
}

Napi::Value BpfObject::type(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  return to_script(info.Env(), value_or_throw(info.Env(), native_.type(name)));
}

}  // namespace hadal::napi
