// TunnelHandle of src/native/types.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "native/napi/handle.h"
#include "native/napi/tunnel_events.h"
#include "native/tunnel/core.h"

namespace hadal::napi {

class TunnelHandle {
 public:
  static constexpr const char* kClassName = "TunnelHandle";
  static constexpr napi_type_tag kTag = {0x6f0a92d7c1b84e35, 0x94e27b10fd5c3a68};
  static std::vector<napi_property_descriptor> properties();

  [[nodiscard]] static Napi::Object start(Napi::Env env, tunnel::Settings settings,
                                          const Napi::Function& listener);

  ~TunnelHandle();

  [[nodiscard]] bool is_open() const { return shared_->core != nullptr; }
  [[nodiscard]] std::string describe() const { return "the tunnel"; }
  Napi::Value close_from_script(const Napi::CallbackInfo& info);

 private:
  friend class Handle<TunnelHandle>;

  /// Also held by the environment's cleanup hook, which ends the workers before the environment ends.
  struct Shared {
    std::shared_ptr<TunnelMail> mail;
    std::unique_ptr<tunnel::TunnelCore> core;
  };

  TunnelHandle() = default;
  [[nodiscard]] tunnel::TunnelCore& core() const { return *shared_->core; }

  Napi::Value add_pod(const Napi::CallbackInfo& info);
  Napi::Value set_pod_addresses(const Napi::CallbackInfo& info);
  Napi::Value set_pod_holds_machine(const Napi::CallbackInfo& info);
  Napi::Value remove_pod(const Napi::CallbackInfo& info);
  Napi::Value set_identity(const Napi::CallbackInfo& info);
  Napi::Value remove_identity(const Napi::CallbackInfo& info);
  Napi::Value set_revocations(const Napi::CallbackInfo& info);
  Napi::Value put_outbound_rows(const Napi::CallbackInfo& info);
  Napi::Value remove_outbound_rows(const Napi::CallbackInfo& info);
  Napi::Value put_inbound_rows(const Napi::CallbackInfo& info);
  Napi::Value remove_inbound_rows(const Napi::CallbackInfo& info);
  Napi::Value ask_about_forgotten(const Napi::CallbackInfo& info);
  Napi::Value remove_edges(const Napi::CallbackInfo& info);
  Napi::Value read_counters(const Napi::CallbackInfo& info);
  Napi::Value read_totals(const Napi::CallbackInfo& info);
  Napi::Value read_live_flows(const Napi::CallbackInfo& info);
  Napi::Value describe_tunnels(const Napi::CallbackInfo& info);
  Napi::Value drain(const Napi::CallbackInfo& info);

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<ScriptChannel> channel_;
  uint64_t subscription_ = 0;
};

}  // namespace hadal::napi
