// PacketWatch of src/native/packets.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/napi/handle.h"
#include "native/net/packet_watch.h"

namespace hadal::napi {

class PacketWatch : public Closeable<PacketWatch> {
 public:
  static constexpr const char* kClassName = "PacketWatch";
  static constexpr napi_type_tag kTag = {0xa4c83d5e179b42f0, 0x8b6de2907c3f15a4};
  static std::vector<napi_property_descriptor> properties();

  [[nodiscard]] static Napi::Object create(Napi::Env env, net::PacketWatch&& native);

  [[nodiscard]] bool is_open() const { return native_.has_value(); }
  [[nodiscard]] std::string describe() const { return "watch of packets"; }
  void close() { native_.reset(); }

 private:
  friend class Handle<PacketWatch>;

  explicit PacketWatch(net::PacketWatch&& native) : native_(std::move(native)) {}
  Napi::Value read(const Napi::CallbackInfo& info);

  std::optional<net::PacketWatch> native_;
};

}  // namespace hadal::napi
