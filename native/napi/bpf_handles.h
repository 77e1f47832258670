// The handle classes of the eBPF bindings: BpfObject, BpfMap, BpfProgram and BpfLink of src/native/types.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "native/bpf/link.h"
#include "native/bpf/map.h"
#include "native/bpf/object.h"
#include "native/bpf/program.h"
#include "native/napi/handle.h"

namespace hadal::napi {

class BpfMap : public Closeable<BpfMap> {
 public:
  static constexpr const char* kClassName = "BpfMap";
  static constexpr napi_type_tag kTag = {0x8d1f6b0c54e24f1a, 0xa7c3e95d20b81f64};
  static std::vector<napi_property_descriptor> properties();

  explicit BpfMap(bpf::Map native) : native_(std::move(native)) {}

  [[nodiscard]] bool is_open() const { return native_.is_open(); }
  void close() { native_.close(); }
  [[nodiscard]] std::string describe() const { return "map " + native_.name(); }
  [[nodiscard]] const bpf::Map& native() const { return native_; }

 private:
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value type(const Napi::CallbackInfo& info);
  Napi::Value id(const Napi::CallbackInfo& info);
  Napi::Value fd(const Napi::CallbackInfo& info);
  Napi::Value key_size(const Napi::CallbackInfo& info);
  Napi::Value value_size(const Napi::CallbackInfo& info);
  Napi::Value max_entries(const Napi::CallbackInfo& info);
  Napi::Value key_type(const Napi::CallbackInfo& info);
  Napi::Value value_type(const Napi::CallbackInfo& info);
  Napi::Value get(const Napi::CallbackInfo& info);
  Napi::Value set(const Napi::CallbackInfo& info);
  Napi::Value remove(const Napi::CallbackInfo& info);
  Napi::Value set_socket(const Napi::CallbackInfo& info);
  Napi::Value set_for_socket(const Napi::CallbackInfo& info);
  Napi::Value get_for_socket(const Napi::CallbackInfo& info);
  Napi::Value delete_for_socket(const Napi::CallbackInfo& info);
  Napi::Value keys(const Napi::CallbackInfo& info);
  Napi::Value entries(const Napi::CallbackInfo& info);
  Napi::Value set_batch(const Napi::CallbackInfo& info);
  Napi::Value delete_batch(const Napi::CallbackInfo& info);
  Napi::Value pin(const Napi::CallbackInfo& info);

  bpf::Map native_;
};

class BpfLink : public Closeable<BpfLink> {
 public:
  static constexpr const char* kClassName = "BpfLink";
  static constexpr napi_type_tag kTag = {0x3f70c2a9be1d4586, 0xb15e04d7829a6fc3};
  static std::vector<napi_property_descriptor> properties();

  explicit BpfLink(bpf::Link native) : native_(std::move(native)) {}

  [[nodiscard]] bool is_open() const { return native_.is_open(); }
  void close() { native_.close(); }
  [[nodiscard]] std::string describe() const { return native_.what(); }

 private:
  Napi::Value id(const Napi::CallbackInfo& info);
  Napi::Value fd(const Napi::CallbackInfo& info);
  Napi::Value update(const Napi::CallbackInfo& info);
  Napi::Value pin(const Napi::CallbackInfo& info);
  Napi::Value read_iterator(const Napi::CallbackInfo& info);
  Napi::Value detach(const Napi::CallbackInfo& info);

  bpf::Link native_;
};

class BpfProgram : public Closeable<BpfProgram> {
 public:
  static constexpr const char* kClassName = "BpfProgram";
  static constexpr napi_type_tag kTag = {0xc6e9217b40f35d8e, 0x9a2d61f8037bce45};
  static std::vector<napi_property_descriptor> properties();

  explicit BpfProgram(bpf::Program native) : native_(std::move(native)) {}

  [[nodiscard]] bool is_open() const { return native_.is_open(); }
  void close() { native_.close(); }
  [[nodiscard]] std::string describe() const { return "program " + native_.name(); }
  [[nodiscard]] const bpf::Program& native() const { return native_; }

 private:
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value type(const Napi::CallbackInfo& info);
  Napi::Value id(const Napi::CallbackInfo& info);
  Napi::Value fd(const Napi::CallbackInfo& info);
  Napi::Value attach_cgroup(const Napi::CallbackInfo& info);
  Napi::Value attach_netns(const Napi::CallbackInfo& info);
  Napi::Value attach_sock_map(const Napi::CallbackInfo& info);
  Napi::Value attach_iterator(const Napi::CallbackInfo& info);
  Napi::Value test_run(const Napi::CallbackInfo& info);
  Napi::Value pin(const Napi::CallbackInfo& info);

  bpf::Program native_;
};

class BpfObject : public Closeable<BpfObject> {
 public:
  static constexpr const char* kClassName = "BpfObject";
  static constexpr napi_type_tag kTag = {0x52b8e64fd9074ac1, 0x8c60f13ea5d2947b};
  static std::vector<napi_property_descriptor> properties();

  explicit BpfObject(bpf::Object native) : native_(std::move(native)) {}

  [[nodiscard]] bool is_open() const { return native_.is_open(); }
  void close() { native_.close(); }
  [[nodiscard]] std::string describe() const { return "BPF object " + native_.name(); }

 private:
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value map_names(const Napi::CallbackInfo& info);
  Napi::Value program_names(const Napi::CallbackInfo& info);
  Napi::Value set_read_only(const Napi::CallbackInfo& info);
  Napi::Value reuse_map(const Napi::CallbackInfo& info);
  Napi::Value set_max_entries(const Napi::CallbackInfo& info);
  Napi::Value skip_program(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value map(const Napi::CallbackInfo& info);
  Napi::Value program(const Napi::CallbackInfo& info);
  Napi::Value type(const Napi::CallbackInfo& info);

  bpf::Object native_;
};

template <typename T, typename Native>
[[nodiscard]] Napi::Value new_handle(Napi::Env env, Native&& native) {
  return Handle<T>::create(env, std::make_unique<T>(std::forward<Native>(native)));
}

}  // namespace hadal::napi
