#include "native/napi/packet_watch.h"

#include "native/napi/arguments.h"

namespace hadal::napi {

std::vector<napi_property_descriptor> PacketWatch::properties() {
  return {Handle<PacketWatch>::method<&PacketWatch::read>("read")};
}

Napi::Object PacketWatch::create(Napi::Env env, net::PacketWatch&& native) {
  return Handle<PacketWatch>::create(env, std::unique_ptr<PacketWatch>(new PacketWatch(std::move(native))));
}

Napi::Value PacketWatch::read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto packets = value_or_throw(env, native_->read());
  Napi::Array out = Napi::Array::New(env, packets.size());
  for (uint32_t i = 0; i < packets.size(); ++i) {
    const net::SeenPacket& packet = packets[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("interfaceIndex", packet.interface_index);
    entry.Set("outgoing", packet.outgoing);
    entry.Set("source", packet.source.address.text());
    entry.Set("sourcePort", Napi::Number::New(env, packet.source.port));
    entry.Set("destination", packet.destination.address.text());
    entry.Set("destinationPort", Napi::Number::New(env, packet.destination.port));
    out.Set(i, entry);
  }
  return out;
}

}  // namespace hadal::napi
