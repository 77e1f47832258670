#include "native/napi/arguments.h"
#include "native/napi/bpf_handles.h"
#include "native/napi/bpf_values.h"

namespace hadal::napi {
namespace {

std::optional<std::vector<uint8_t>> optional_bytes(const Napi::CallbackInfo& info,
                                                   const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) {
    return std::nullopt;
  }
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw type_error(info.Env(), "ERR_INVALID_ARG_TYPE",
                     std::string("options.") + name + " must be a Uint8Array");
  }
  const auto bytes = value.As<Napi::Uint8Array>();
  return std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ElementLength());
}

}  // namespace

std::vector<napi_property_descriptor> BpfProgram::properties() {
  using H = Handle<BpfProgram>;
  return {H::property<&BpfProgram::name>("name"),
          H::property<&BpfProgram::type>("type"),
          H::property<&BpfProgram::id>("id"),
          H::getter<&BpfProgram::fd>("fd"),
          H::method<&BpfProgram::attach_cgroup>("attachCgroup"),
          H::method<&BpfProgram::attach_netns>("attachNetns"),
          H::method<&BpfProgram::attach_sock_map>("attachSockMap"),
          H::method<&BpfProgram::attach_iterator>("attachIterator"),
          H::method<&BpfProgram::test_run>("testRun"),
          H::method<&BpfProgram::pin>("pin")};
}

Napi::Value BpfProgram::name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), native_.name());
}

Napi::Value BpfProgram::type(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), native_.type_name());
}

Napi::Value BpfProgram::id(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.id());
}

Napi::Value BpfProgram::fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.fd());
}

Napi::Value BpfProgram::attach_cgroup(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, cgroup_path);
  return new_handle<BpfLink>(info.Env(), value_or_throw(info.Env(), native_.attach_cgroup(cgroup_path)));
}

Napi::Value BpfProgram::attach_netns(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  return new_handle<BpfLink>(info.Env(), value_or_throw(info.Env(), native_.attach_netns(netns_fd)));
}

Napi::Value BpfProgram::attach_sock_map(const Napi::CallbackInfo& info) {
  HADAL_ARG_HANDLE(BpfMap, 0, map);
  return new_handle<BpfLink>(info.Env(), value_or_throw(info.Env(), native_.attach_sock_map(map.native())));
}

Napi::Value BpfProgram::attach_iterator(const Napi::CallbackInfo& info) {
  return new_handle<BpfLink>(info.Env(), value_or_throw(info.Env(), native_.attach_iterator()));
}

Napi::Value BpfProgram::test_run(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, options);
  bpf::TestRunInput input{.packet = optional_bytes(info, options, "packet"),
                          .context = optional_bytes(info, options, "context")};
  if (const Napi::Value repeat = options.Get("repeat"); !repeat.IsUndefined()) {
    if (!repeat.IsNumber() || repeat.As<Napi::Number>().DoubleValue() < 1 ||
        repeat.As<Napi::Number>().DoubleValue() > 1e9) {
      throw_argument_range(info.Env(), "options.repeat must be a number from 1 to 1000000000");
    }
    input.repeat = repeat.As<Napi::Number>().Uint32Value();
  }
  const bpf::TestRunOutput output = value_or_throw(info.Env(), native_.test_run(input));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("returnValue", output.return_value);
  out.Set("durationNs", output.duration_ns);
  if (output.packet) {
    out.Set("packet", to_script(info.Env(), *output.packet));
  }
  if (output.context) {
    out.Set("context", to_script(info.Env(), *output.context));
  }
  return out;
}

Napi::Value BpfProgram::pin(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  value_or_throw(info.Env(), native_.pin(path));
  return info.Env().Undefined();
}

}  // namespace hadal::napi
