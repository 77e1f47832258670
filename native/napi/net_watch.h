// NetnsWatch of src/native/types.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/napi/handle.h"
#include "native/net/rtnetlink_watch.h"

namespace hadal::napi {

class NetnsWatch {
 public:
  static constexpr const char* kClassName = "NetnsWatch";
  static constexpr napi_type_tag kTag = {0x1d94b3e8a2674cf5, 0x8e307fa65cd1b942};
  static std::vector<napi_property_descriptor> properties();

  [[nodiscard]] static Napi::Object start(Napi::Env env, int netns_fd,
                                          const std::optional<net::CaptureRouting>& routing,
                                          const Napi::Function& listener);

  ~NetnsWatch() { stop(); }

  [[nodiscard]] bool is_open() const { return watcher_ != nullptr; }
  [[nodiscard]] std::string describe() const { return "watch of a network namespace"; }
  Napi::Value close_from_script(const Napi::CallbackInfo& info);

 private:
  friend class Handle<NetnsWatch>;
  struct Mail;

  NetnsWatch() = default;
  Napi::Value restored_count(const Napi::CallbackInfo& info);
  Napi::Value capture_interfaces(const Napi::CallbackInfo& info);
  /// Without JavaScript: also from the finalizer.
  void stop();

  std::shared_ptr<Mail> mail_;
  std::shared_ptr<net::NetnsWatcher> watcher_;  // nullptr: closed
  uint64_t watch_id_ = 0;
  uint64_t subscription_ = 0;
};

[[nodiscard]] Napi::Value to_script(Napi::Env env, const std::vector<net::InterfaceAddress>& addresses);
[[nodiscard]] Napi::Value to_script(Napi::Env env, const std::vector<net::InterfaceState>& interfaces);
/// `VirtualInterfaces`; duplicates the programs' descriptors. Throws what is wrong with it.
[[nodiscard]] net::VirtualInterfaces interfaces_of(Napi::Env env, const Napi::Object& object);
[[nodiscard]] uint32_t field_u32(Napi::Env env, const Napi::Object& object, const char* name);

}  // namespace hadal::napi
