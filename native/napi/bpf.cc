// NativeBpf of src/native/types.ts.
#include <bpf/libbpf.h>

#include "native/bpf/probe.h"
#include "native/napi/arguments.h"
#include "native/napi/bpf_handles.h"
#include "native/napi/bpf_ring_buffer.h"
#include "native/napi/register.h"

namespace hadal::napi {
namespace {

Napi::Value open_object(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  std::string name;
  if (!info[1].IsUndefined()) {
    const Napi::Value given = object_argument(info, 1, "options").Get("name");
    if (!given.IsUndefined() && !given.IsString()) {
      throw type_error(info.Env(), "ERR_INVALID_ARG_TYPE", "options.name must be a string");
    }
    name = given.IsString() ? given.As<Napi::String>().Utf8Value() : "";
  }
  return new_handle<BpfObject>(info.Env(),
                               value_or_throw(info.Env(), bpf::Object::open(path, std::move(name))));
}

Napi::Value open_pinned_map(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  return new_handle<BpfMap>(info.Env(), value_or_throw(info.Env(), bpf::Map::open_pinned(path)));
}

Napi::Value open_pinned_link(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  return new_handle<BpfLink>(info.Env(), value_or_throw(info.Env(), bpf::Link::open_pinned(path)));
}

Napi::Value open_pinned_program(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  return new_handle<BpfProgram>(info.Env(), value_or_throw(info.Env(), bpf::Program::open_pinned(path)));
}

uint32_t option_in_range(Napi::Env env, const Napi::Object& options, const char* name, uint32_t lowest,
                         uint32_t highest, uint32_t otherwise) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) {
    return otherwise;
  }
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= lowest && number <= highest)) {
    throw_argument_range(env, std::string("options.") + name + " must be a number from " +
                                  std::to_string(lowest) + " to " + std::to_string(highest));
  }
  return static_cast<uint32_t>(number);
}

Napi::Value open_ring_buffer(const Napi::CallbackInfo& info) {
  HADAL_ARG_HANDLE(BpfMap, 0, map);
  HADAL_ARG_FUNCTION(1, listener);
  bpf::RingBufferSettings settings;
  if (!info[2].IsUndefined()) {
    HADAL_ARG_OBJECT(2, options);
    settings.interval =
        std::chrono::milliseconds(option_in_range(info.Env(), options, "intervalMs", 0, 60'000, 100));
    settings.max_batch_bytes = option_in_range(info.Env(), options, "maxBatchBytes", 1, 1 << 30, 1 << 20);
  }
  return BpfRingBuffer::start(info.Env(), map.native(), listener, settings);
}

Napi::Value probe_program_type(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), bpf::probe_program_type(name)));
}

Napi::Value probe_map_type(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, name);
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), bpf::probe_map_type(name)));
}

Napi::Value probe_helper(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, program_type);
  HADAL_ARG_STRING(1, helper);
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), bpf::probe_helper(program_type, helper)));
}

}  // namespace

void register_bpf(Napi::Env env, Napi::Object exports) {
  exports.Set("openObject", Napi::Function::New<open_object>(env, "openObject"));
  exports.Set("openPinnedMap", Napi::Function::New<open_pinned_map>(env, "openPinnedMap"));
  exports.Set("openPinnedLink", Napi::Function::New<open_pinned_link>(env, "openPinnedLink"));
  exports.Set("openPinnedProgram", Napi::Function::New<open_pinned_program>(env, "openPinnedProgram"));
  exports.Set("openRingBuffer", Napi::Function::New<open_ring_buffer>(env, "openRingBuffer"));
  exports.Set("probeProgramType", Napi::Function::New<probe_program_type>(env, "probeProgramType"));
  exports.Set("probeMapType", Napi::Function::New<probe_map_type>(env, "probeMapType"));
  exports.Set("probeHelper", Napi::Function::New<probe_helper>(env, "probeHelper"));
  exports.Set("cpuCount", Napi::Number::New(env, static_cast<double>(bpf::possible_cpu_count())));
  // "v1.1" as the library says, without the letter.
  const std::string version = libbpf_version_string();
  exports.Set("libbpfVersion", version.starts_with('v') ? version.substr(1) : version);
}

}  // namespace hadal::napi
