// What the addon exports, one function per area; each area's file in native/napi adds its part of
// src/native/types.ts.
#pragma once

#include <napi.h>

namespace hadal::napi {

void register_bpf(Napi::Env env, Napi::Object exports);
void register_net(Napi::Env env, Napi::Object exports);
void register_tunnel(Napi::Env env, Napi::Object exports);
void register_pod_files(Napi::Env env, Napi::Object exports);
void register_names(Napi::Env env, Napi::Object exports);
void register_process(Napi::Env env, Napi::Object exports);

}  // namespace hadal::napi
