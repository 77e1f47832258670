// What the tunnel hands to JavaScript, as src/native/types.ts declares it.
#pragma once

#include <napi.h>

#include <vector>

#include "native/tunnel/core.h"

namespace hadal::napi {

[[nodiscard]] Napi::Object question_to_script(Napi::Env env, const tunnel::Question& question);
[[nodiscard]] Napi::Uint8Array flows_to_script(Napi::Env env, const std::vector<tunnel::FlowRecord>& flows);
[[nodiscard]] Napi::Object counters_to_script(Napi::Env env, const tunnel::EdgeSnapshot& snapshot);
[[nodiscard]] Napi::Object totals_to_script(Napi::Env env, const tunnel::Totals& totals);
[[nodiscard]] Napi::Object listeners_to_script(Napi::Env env, const tunnel::PodListeners& listeners);
[[nodiscard]] Napi::Array tunnels_to_script(Napi::Env env,
                                            const std::vector<tunnel::TunnelDescription>& tunnels);

}  // namespace hadal::napi
