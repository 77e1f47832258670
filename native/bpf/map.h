// One BPF map by its descriptor: typed by sizes, bytes in and out. Any thread may call; the kernel orders the
// calls.
#pragma once

#include <bpf/bpf.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/bpf/btf_type.h"

namespace hadal::bpf {

enum class SetMode : uint8_t { any = BPF_ANY, create = BPF_NOEXIST, replace = BPF_EXIST };

/// Keys and values packed one after the other; `values` is empty when only keys were asked for.
struct PackedEntries {
  size_t count = 0;
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
};

class Map {
 public:
  /// Takes over `fd`. `name` replaces the kernel's own, which is cut to 15 characters.
  [[nodiscard]] static Result<Map> adopt(UniqueFd fd, std::string name = {}, TypePtr key_type = nullptr,
                                         TypePtr value_type = nullptr);
  /// Key and value types come from the BTF that the kernel keeps with the map.
  [[nodiscard]] static Result<Map> open_pinned(const std::string& path);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bpf_map_type type() const { return static_cast<bpf_map_type>(info_.type); }
  [[nodiscard]] std::string type_name() const;
  [[nodiscard]] uint32_t id() const { return info_.id; }
  [[nodiscard]] uint32_t key_size() const { return info_.key_size; }
  [[nodiscard]] uint32_t value_size() const { return info_.value_size; }
  [[nodiscard]] uint32_t max_entries() const { return info_.max_entries; }
  [[nodiscard]] uint32_t flags() const { return info_.map_flags; }
  [[nodiscard]] const TypePtr& key_type() const { return key_type_; }
  [[nodiscard]] const TypePtr& value_type() const { return value_type_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_open() const { return fd_.valid(); }
  void close() { fd_.reset(); }

  /// Bytes of one entry's value as system calls carry it: a per-CPU map has one slot per possible CPU, each
  /// rounded up to 8 bytes.
  [[nodiscard]] size_t value_bytes() const;

  [[nodiscard]] Result<bool> get(std::span<const uint8_t> key, std::span<uint8_t> value) const;
  [[nodiscard]] Result<void> set(std::span<const uint8_t> key, std::span<const uint8_t> value,
                                 SetMode mode) const;
  [[nodiscard]] Result<bool> remove(std::span<const uint8_t> key) const;
  /// SOCKMAP, SOCKHASH: the socket itself is the value.
  [[nodiscard]] Result<void> set_socket(std::span<const uint8_t> key, int socket_fd) const;
  /// SK_STORAGE: the socket is the key.
  [[nodiscard]] Result<void> set_for_socket(int socket_fd, std::span<const uint8_t> value) const;
  [[nodiscard]] Result<bool> get_for_socket(int socket_fd, std::span<uint8_t> value) const;
  [[nodiscard]] Result<bool> remove_for_socket(int socket_fd) const;

  [[nodiscard]] Result<PackedEntries> keys() const;
  [[nodiscard]] Result<PackedEntries> entries() const;
  /// Stops at the first entry that does not fit (a full map); other errors fail.
  [[nodiscard]] Result<size_t> set_batch(std::span<const uint8_t> keys,
                                         std::span<const uint8_t> values) const;
  /// Keys that do not exist are skipped and not counted.
  [[nodiscard]] Result<size_t> remove_batch(std::span<const uint8_t> keys) const;

  [[nodiscard]] Result<void> pin(const std::string& path) const;

 private:
  Map() = default;
  [[nodiscard]] bool per_cpu() const;
  [[nodiscard]] Result<void> check_key(std::span<const uint8_t> key) const;
  [[nodiscard]] Result<void> check_value(std::span<const uint8_t> value) const;
  [[nodiscard]] Result<void> check_entry(std::span<const uint8_t> key, std::span<const uint8_t> value) const;
  [[nodiscard]] std::unexpected<Failure> failed(const char* verb, const char* system_call, int error) const;
  [[nodiscard]] Result<std::optional<PackedEntries>> scan_by_batch() const;
  [[nodiscard]] Result<PackedEntries> scan_by_key(bool with_values) const;

  UniqueFd fd_;
  bpf_map_info info_{};
  std::string name_;
  TypePtr key_type_;
  TypePtr value_type_;
};

/// CPUs that may ever come up: the number of slots of a per-CPU value.
[[nodiscard]] size_t possible_cpu_count();

}  // namespace hadal::bpf
