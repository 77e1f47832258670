#include "native/napi/bpf_ring_buffer.h"

#include <atomic>
#include <cstring>

#include "native/napi/bpf_values.h"
#include "native/napi/script_channel.h"
#include "native/napi/subscriptions.h"

namespace hadal::napi {
namespace {

/// The environment's poller; its thread ends in a cleanup hook, before the environment does.
std::shared_ptr<bpf::RingPoller> poller_of(Napi::Env env) {
  return EnvData::of(env).slot<bpf::RingPoller>([&] {
    auto made = std::make_shared<bpf::RingPoller>();
    napi_add_env_cleanup_hook(
        env,
        [](void* data) {
          auto* poller = static_cast<std::shared_ptr<bpf::RingPoller>*>(data);
          (*poller)->stop();
          delete poller;
        },
        new std::shared_ptr<bpf::RingPoller>(made));
    return made;
  });
}

/// Returns the number of records; 0 when there are none or the subscription is closed.
size_t deliver(Napi::Env env, uint64_t subscription, const bpf::RecordBatch& batch) {
  const Napi::Function listener = Subscriptions::of(env).listener(subscription);
  if (batch.count() == 0 || listener.IsEmpty()) {
    return 0;
  }
  const Napi::HandleScope scope(env);
  Napi::Uint32Array offsets = Napi::Uint32Array::New(env, batch.offsets.size());
  std::memcpy(offsets.Data(), batch.offsets.data(), batch.offsets.size() * sizeof(uint32_t));
  listener.Call({to_script(env, batch.bytes), offsets});
  return batch.count();
}

}  // namespace

std::vector<napi_property_descriptor> BpfRingBuffer::properties() {
  using H = Handle<BpfRingBuffer>;
  return {H::method<&BpfRingBuffer::flush>("flush")};
}

Napi::Object BpfRingBuffer::start(Napi::Env env, const bpf::Map& map, const Napi::Function& listener,
                                  const bpf::RingBufferSettings& settings) {
  auto ring = value_or_throw(env, bpf::RingBuffer::open(map, settings));
  auto channel = ScriptChannel::of(env);
  auto poller = poller_of(env);
  Subscriptions& subscriptions = Subscriptions::of(env);
  const uint64_t subscription = subscriptions.add(listener);
  // The id is known only after `add`, when the poller may already be calling.
  auto id = std::make_shared<std::atomic<uint64_t>>(0);
  // Weak, or ring and poller would hold each other: the poller's entry holds this function.
  const std::weak_ptr<bpf::RingPoller> weak_poller = poller;
  const auto ready = [channel, ring, id, weak_poller, subscription] {
    channel->post([ring, id, weak_poller, subscription](Napi::Env env) {
      // Read on whether or not the listener throws.
      struct Resume {
        const std::weak_ptr<bpf::RingPoller>& poller;
        uint64_t id;
        ~Resume() {
          if (const auto strong = poller.lock()) {
            strong->resume(id);
          }
        }
      } const resume{weak_poller, id->load()};
      deliver(env, subscription, ring->take());
    });
  };
  auto added = poller->add(ring, ready);
  if (!added) {
    subscriptions.remove(subscription);
    throw to_error(env, added.error());
  }
  id->store(*added);
  auto native = std::unique_ptr<BpfRingBuffer>(new BpfRingBuffer());
  native->name_ = ring->name();
  native->ring_ = std::move(ring);
  native->poller_ = std::move(poller);
  native->poll_id_ = *added;
  native->subscription_ = subscription;
  const Napi::Object handle = Handle<BpfRingBuffer>::create(env, std::move(native));
  subscriptions.hold(subscription, handle);
  return handle;
}

Napi::Value BpfRingBuffer::flush(const Napi::CallbackInfo& info) {
  // The listener may close this handle, even let it be collected: nothing of `this` is used after a call.
  const auto ring = ring_;
  const uint64_t subscription = subscription_;
  size_t count = 0;
  size_t bytes = 0;
  // What was collected before comes first. More than the ring holds was not there when the call began:
  // programs that write faster than the listener reads must not keep it here forever.
  do {
    const bpf::RecordBatch batch = ring->take();
    bytes += batch.bytes.size();
    count += deliver(info.Env(), subscription, batch);
  } while (bytes < ring->ring_bytes() && ring->collect());
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

void BpfRingBuffer::stop() {
  if (const auto poller = std::exchange(poller_, nullptr)) {
    poller->remove(poll_id_);
    ring_->close();
  }
}

Napi::Value BpfRingBuffer::close_from_script(const Napi::CallbackInfo& info) {
  if (is_open()) {
    stop();
    Subscriptions::of(info.Env()).remove(subscription_);
  }
  return info.Env().Undefined();
}

}  // namespace hadal::napi
