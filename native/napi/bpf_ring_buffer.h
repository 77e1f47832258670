// RingBuffer of src/native/types.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "native/bpf/ring_buffer.h"
#include "native/napi/handle.h"

namespace hadal::napi {

class BpfRingBuffer {
 public:
  static constexpr const char* kClassName = "RingBuffer";
  static constexpr napi_type_tag kTag = {0x7be2519d03c84fa6, 0x95d1c70e4fb8236a};
  static std::vector<napi_property_descriptor> properties();

  [[nodiscard]] static Napi::Object start(Napi::Env env, const bpf::Map& map, const Napi::Function& listener,
                                          const bpf::RingBufferSettings& settings);

  ~BpfRingBuffer() { stop(); }

  [[nodiscard]] bool is_open() const { return poller_ != nullptr; }
  [[nodiscard]] std::string describe() const { return "ring buffer " + name_; }
  Napi::Value close_from_script(const Napi::CallbackInfo& info);

 private:
  BpfRingBuffer() = default;
  Napi::Value flush(const Napi::CallbackInfo& info);
  /// Without JavaScript: also from the finalizer.
  void stop();

  std::string name_;
  std::shared_ptr<bpf::RingBuffer> ring_;
  std::shared_ptr<bpf::RingPoller> poller_;  // nullptr: closed
  uint64_t poll_id_ = 0;
  uint64_t subscription_ = 0;
};

}  // namespace hadal::napi
