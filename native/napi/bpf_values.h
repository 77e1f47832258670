// Values of the eBPF bindings on their way to JavaScript and back.
#pragma once

#include <napi.h>

#include <optional>
#include <span>
#include <vector>

#include "native/bpf/btf_type.h"
#include "native/bpf/map.h"
#include "native/bpf/object.h"

namespace hadal::napi {

/// `BtfType` of types.ts; undefined for nullptr.
[[nodiscard]] Napi::Value to_script(Napi::Env env, const bpf::TypePtr& type);

/// A fresh Uint8Array with a copy of `bytes`.
[[nodiscard]] Napi::Uint8Array to_script(Napi::Env env, std::span<const uint8_t> bytes);

/// Uint8Arrays of `size` bytes, one after the other, all views of one buffer.
[[nodiscard]] std::vector<Napi::Uint8Array> split(Napi::Env env, std::span<const uint8_t> packed, size_t size,
                                                  size_t count);

/// number, bigint, boolean or Uint8Array.
[[nodiscard]] bpf::ReadOnlyValue read_only_argument(const Napi::CallbackInfo& info, size_t index);

}  // namespace hadal::napi
