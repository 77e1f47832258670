// NameService of src/native/types.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "native/dns/service.h"
#include "native/napi/handle.h"
#include "native/napi/script_channel.h"

namespace hadal::napi {

class NameService {
 public:
  static constexpr const char* kClassName = "NameService";
  static constexpr napi_type_tag kTag = {0x3b8e51f6a90d4c27, 0xb1d74e80c2659f3a};
  static std::vector<napi_property_descriptor> properties();

  [[nodiscard]] static Napi::Object start(Napi::Env env, dns::Settings settings,
                                          const Napi::Function& listener);

  ~NameService();

  [[nodiscard]] bool is_open() const { return shared_->service != nullptr; }
  [[nodiscard]] std::string describe() const { return "the name service"; }
  Napi::Value close_from_script(const Napi::CallbackInfo& info);

 private:
  friend class Handle<NameService>;

  struct Mail final : dns::Listener {
    void on_asked() override;

    std::shared_ptr<ScriptChannel> channel;
    uint64_t subscription = 0;
  };
  /// Also held by the environment's cleanup hook, which ends the thread before the environment ends.
  struct Shared {
    Mail mail;
    std::unique_ptr<dns::Service> service;
  };

  NameService() = default;
  [[nodiscard]] dns::Service& service() const { return *shared_->service; }

  Napi::Value add_pod(const Napi::CallbackInfo& info);
  Napi::Value remove_pod(const Napi::CallbackInfo& info);
  Napi::Value serve(const Napi::CallbackInfo& info);
  Napi::Value set_nameserver(const Napi::CallbackInfo& info);
  Napi::Value set_labels(const Napi::CallbackInfo& info);
  Napi::Value forget_answers(const Napi::CallbackInfo& info);
  Napi::Value take(const Napi::CallbackInfo& info);
  Napi::Value answer(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value ask(const Napi::CallbackInfo& info);
  Napi::Value drop(const Napi::CallbackInfo& info);
  Napi::Value answers(const Napi::CallbackInfo& info);
  Napi::Value drops(const Napi::CallbackInfo& info);

  std::shared_ptr<Shared> shared_;
  uint64_t subscription_ = 0;
};

}  // namespace hadal::napi
