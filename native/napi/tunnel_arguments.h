// What JavaScript hands to the tunnel, copied into plain C++ values and checked: nothing of V8 reaches a
// worker.
#pragma once

#include <napi.h>

#include <utility>
#include <vector>

#include "native/napi/errors.h"
#include "native/tls/credentials.h"
#include "native/tunnel/rows.h"
#include "native/tunnel/settings.h"

namespace hadal::napi {

[[nodiscard]] tunnel::Settings tunnel_settings(const Napi::Object& object);
[[nodiscard]] tunnel::PodSettings pod_settings(const Napi::Object& object);
[[nodiscard]] std::vector<net::IpAddress> ip_addresses(const Napi::Value& value, const char* name);
[[nodiscard]] tls::IdentityMaterial identity_material(const Napi::Object& object);

[[nodiscard]] tunnel::OutboundRow outbound_row(const Napi::Object& object);
[[nodiscard]] tunnel::InboundRow inbound_row(const Napi::Object& object);
[[nodiscard]] tunnel::InboundKey inbound_key(const Napi::Object& object);

struct OutboundKey {
  uint32_t pod_index = 0;
  net::SocketAddress destination;
};
[[nodiscard]] OutboundKey outbound_key(const Napi::Object& object);

/// Each element of an array of objects, converted.
template <typename Convert>
[[nodiscard]] auto objects_argument(const Napi::CallbackInfo& info, size_t index, const char* name,
                                    Convert convert) {
  using Item = decltype(convert(std::declval<Napi::Object>()));
  if (!info[index].IsArray()) {
    throw_argument_type(info, index, name, "an array");
  }
  const auto array = info[index].As<Napi::Array>();
  std::vector<Item> items;
  items.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(info.Env());
    const Napi::Value item = array.Get(i);
    if (!item.IsObject()) {
      throw_argument_type(info, index, name, "an array of objects");
    }
    items.push_back(convert(item.As<Napi::Object>()));
  }
  return items;
}

}  // namespace hadal::napi
