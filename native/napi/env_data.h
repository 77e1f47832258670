// What one Node environment (the main thread, or one worker_thread) keeps for the addon. Instead of globals:
// two environments live in one process, on two threads, and end at different times.
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>

namespace hadal::napi {

class EnvData {
 public:
  /// Made on first use. Only on the environment's own thread.
  [[nodiscard]] static EnvData& of(Napi::Env env) {
    auto* data = env.GetInstanceData<EnvData>();
    if (data == nullptr) {
      data = new EnvData();
      env.SetInstanceData<EnvData>(data);  // freed with the environment
    }
    return *data;
  }

  /// The environment's one T, made by `make` on first use. It is dropped after all cleanup hooks have run;
  /// whatever has threads must have stopped them in a hook of its own.
  template <typename T, typename Make>
  [[nodiscard]] std::shared_ptr<T> slot(Make make) {
    std::shared_ptr<void>& entry = slots_[&kSlot<T>];
    if (entry == nullptr) {
      entry = std::shared_ptr<T>(make());
    }
    return std::static_pointer_cast<T>(entry);
  }

  /// Constructors of handle classes, by type tag.
  std::unordered_map<const void*, Napi::FunctionReference> constructors;
  /// The native half of the handle being made; a constructor that finds none was called by JavaScript.
  void* under_construction = nullptr;

 private:
  template <typename T>
  static inline const char kSlot = 0;

  std::unordered_map<const void*, std::shared_ptr<void>> slots_;
};

}  // namespace hadal::napi
