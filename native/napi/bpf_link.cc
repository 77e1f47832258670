#include "native/napi/arguments.h"
#include "native/napi/bpf_handles.h"
#include "native/napi/bpf_values.h"

namespace hadal::napi {

std::vector<napi_property_descriptor> BpfLink::properties() {
  using H = Handle<BpfLink>;
  return {H::property<&BpfLink::id>("id"),
          H::getter<&BpfLink::fd>("fd"),
          H::method<&BpfLink::update>("update"),
          H::method<&BpfLink::pin>("pin"),
          H::method<&BpfLink::read_iterator>("readIterator"),
          H::method<&BpfLink::detach>("detach")};
}

Napi::Value BpfLink::id(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.id());
}

Napi::Value BpfLink::fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native_.fd());
}

Napi::Value BpfLink::update(const Napi::CallbackInfo& info) {
  HADAL_ARG_HANDLE(BpfProgram, 0, program);
  value_or_throw(info.Env(), native_.update(program.native()));
  return info.Env().Undefined();
}

Napi::Value BpfLink::pin(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  value_or_throw(info.Env(), native_.pin(path));
  return info.Env().Undefined();
}

Napi::Value BpfLink::read_iterator(const Napi::CallbackInfo& info) {
  std::optional<int> netns_fd;
  if (!info[0].IsUndefined()) {
    const Napi::Value given = object_argument(info, 0, "options").Get("netnsFd");
    if (!given.IsUndefined()) {
      if (!given.IsNumber()) {
        throw_argument_type(info, 0, "options.netnsFd", "a number");
      }
      netns_fd = given.As<Napi::Number>().Int32Value();
    }
  }
  return to_script(info.Env(), value_or_throw(info.Env(), native_.read_iterator(netns_fd)));
}

Napi::Value BpfLink::detach(const Napi::CallbackInfo& info) {
  value_or_throw(info.Env(), native_.detach());
  return info.Env().Undefined();
}

}  // namespace hadal::napi
