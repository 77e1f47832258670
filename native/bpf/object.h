// A BPF object file: open, set read-only knobs, share maps, load once. Maps and programs taken from it own
// descriptors of their own and outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "native/base/failure.h"
#include "native/bpf/btf_type.h"
#include "native/bpf/map.h"
#include "native/bpf/program.h"

struct bpf_object;
struct bpf_map;
struct bpf_program;

namespace hadal::bpf {

/// A whole number of any sign up to 64 bits.
struct Integer {
  bool negative = false;
  uint64_t magnitude = 0;
};

using ReadOnlyValue = std::variant<Integer, bool, std::span<const uint8_t>>;

class Object {
 public:
  /// `name` is used in messages; empty: the file's name without .bpf.o.
  [[nodiscard]] static Result<Object> open(const std::string& path, std::string name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool is_open() const { return object_ != nullptr; }
  void close() { object_.reset(); }

  /// Data sections go by their section's name (.rodata, .bss).
  [[nodiscard]] std::vector<std::string> map_names() const;
  [[nodiscard]] std::vector<std::string> program_names() const;

  [[nodiscard]] Result<void> set_read_only(const std::string& variable, const ReadOnlyValue& value);
  [[nodiscard]] Result<void> reuse_map(const std::string& name, const Map& map);
  [[nodiscard]] Result<void> set_max_entries(const std::string& name, uint32_t entries);
  [[nodiscard]] Result<void> skip_program(const std::string& name);
  [[nodiscard]] Result<void> load();

  [[nodiscard]] Result<Map> map(const std::string& name) const;
  [[nodiscard]] Result<Program> program(const std::string& name) const;
  [[nodiscard]] Result<TypePtr> type(const std::string& name) const;

 private:
  enum class State : uint8_t { opened, loaded, refused };
  struct Close {
    void operator()(bpf_object* object) const;
  };

  Object() = default;
  [[nodiscard]] Result<bpf_map*> find_map(const std::string& name, State state, const char* verb) const;
  [[nodiscard]] Result<bpf_program*> find_program(const std::string& name, State state,
                                                  const char* verb) const;
  [[nodiscard]] Result<void> require(State state, const std::string& verb) const;

  std::unique_ptr<bpf_object, Close> object_;
  std::string name_;
  State state_ = State::opened;
};

}  // namespace hadal::bpf
