// Entry of hadal.node: each area registers what src/native/types.ts says it exports.
#include <napi.h>

#include "native/napi/register.h"

namespace hadal::napi {

[[gnu::weak]] void register_bpf(Napi::Env, Napi::Object) {}
[[gnu::weak]] void register_net(Napi::Env, Napi::Object) {}
[[gnu::weak]] void register_tunnel(Napi::Env, Napi::Object) {}

}  // namespace hadal::napi

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  hadal::napi::register_bpf(env, exports);
  hadal::napi::register_net(env, exports);
  hadal::napi::register_tunnel(env, exports);
  hadal::napi::register_pod_files(env, exports);
  hadal::napi::register_names(env, exports);
  hadal::napi::register_process(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(hadal, init)
