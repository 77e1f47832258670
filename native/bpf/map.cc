#include "native/bpf/map.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "native/bpf/descriptor.h"

namespace hadal::bpf {
namespace {

std::string bytes(size_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

}  // namespace

size_t possible_cpu_count() {
  const int count = libbpf_num_possible_cpus();
  return count > 0 ? static_cast<size_t>(count) : 1;
}

Result<Map> Map::adopt(UniqueFd fd, std::string name, TypePtr key_type, TypePtr value_type) {
  Map map;
  uint32_t length = sizeof(map.info_);
  if (bpf_obj_get_info_by_fd(fd.get(), &map.info_, &length) != 0) {
    return system_failure("ERR_BPF_MAP", "cannot describe map " + name, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
  }
  map.fd_ = std::move(fd);
  map.name_ = name.empty() ? map.info_.name : std::move(name);
  map.key_type_ = std::move(key_type);
  map.value_type_ = std::move(value_type);
  return map;
}

Result<Map> Map::open_pinned(const std::string& path) {
  auto fd = bpf::open_pinned(path, DescriptorKind::map);
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  auto map = adopt(std::move(*fd));
  if (map && map->info_.btf_id != 0) {
    const std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_from_kernel_by_id(map->info_.btf_id),
                                                           btf__free);
    map->key_type_ = describe_type(types.get(), map->info_.btf_key_type_id);
    map->value_type_ = describe_type(types.get(), map->info_.btf_value_type_id);
  }
  return map;
}

std::string Map::type_name() const {
  const char* name = libbpf_bpf_map_type_str(type());
  return name == nullptr ? "type " + std::to_string(info_.type) : name;
}

bool Map::per_cpu() const {
  switch (type()) {
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return true;
    default:
      return false;
  }
}

size_t Map::value_bytes() const {
  return per_cpu() ? (info_.value_size + size_t{7}) / 8 * 8 * possible_cpu_count() : info_.value_size;
}

Result<void> Map::check_key(std::span<const uint8_t> key) const {
  if (key.size() != info_.key_size) {
    return failure("ERR_BPF_SIZE", "map " + name_ + ": the key has " + bytes(key.size()) + ", expected " +
                                       bytes(info_.key_size));
  }
  return {};
}

Result<void> Map::check_value(std::span<const uint8_t> value) const {
  if (value.size() != value_bytes()) {
    return failure("ERR_BPF_SIZE", "map " + name_ + ": the value has " + bytes(value.size()) + ", expected " +
                                       bytes(value_bytes()) +
                                       (per_cpu() ? " (one slot per CPU, each rounded up to 8)" : ""));
  }
  return {};
}

Result<void> Map::check_entry(std::span<const uint8_t> key, std::span<const uint8_t> value) const {
  auto checked = check_key(key);
  return checked ? check_value(value) : checked;
}

std::unexpected<Failure> Map::failed(const char* verb, const char* system_call, int error) const {
  std::string what = "map " + name_ + ": cannot " + verb;
  if (error == E2BIG) {
    what += " (it is full at " + std::to_string(info_.max_entries) + " entries)";
  }
  return system_failure("ERR_BPF_MAP", what, system_call, error);
}

Result<bool> Map::get(std::span<const uint8_t> key, std::span<uint8_t> value) const {
  if (auto checked = check_entry(key, value); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (bpf_map_lookup_elem(fd(), key.empty() ? nullptr : key.data(), value.data()) == 0) {
    return true;
  }
  if (errno == ENOENT) {
    return false;
  }
  return failed("look up a key", "bpf(BPF_MAP_LOOKUP_ELEM)", errno);
}

Result<void> Map::set(std::span<const uint8_t> key, std::span<const uint8_t> value, SetMode mode) const {
  if (auto checked = check_entry(key, value); !checked) {
    return checked;
  }
  if (bpf_map_update_elem(fd(), key.empty() ? nullptr : key.data(), value.data(),
                          static_cast<uint64_t>(mode)) == 0) {
    return {};
  }
  return failed("set a key", "bpf(BPF_MAP_UPDATE_ELEM)", errno);
}

Result<bool> Map::remove(std::span<const uint8_t> key) const {
  if (auto checked = check_key(key); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (bpf_map_delete_elem(fd(), key.data()) == 0) {
    return true;
  }
  // A SOCKMAP answers EINVAL for a slot that is empty.
  if (errno == ENOENT || (errno == EINVAL && type() == BPF_MAP_TYPE_SOCKMAP)) {
    return false;
  }
  return failed("delete a key", "bpf(BPF_MAP_DELETE_ELEM)", errno);
}

Result<void> Map::set_socket(std::span<const uint8_t> key, int socket_fd) const {
  if (type() != BPF_MAP_TYPE_SOCKMAP && type() != BPF_MAP_TYPE_SOCKHASH &&
      type() != BPF_MAP_TYPE_REUSEPORT_SOCKARRAY) {
    return failure("ERR_BPF_MAP", "map " + name_ + " holds no sockets, its type is " + type_name());
  }
  if (auto checked = check_key(key); !checked) {
    return checked;
  }
  const uint64_t wide = static_cast<uint64_t>(socket_fd);
  const uint32_t narrow = static_cast<uint32_t>(socket_fd);
  const void* value = info_.value_size == 8 ? static_cast<const void*>(&wide) : &narrow;
  if (bpf_map_update_elem(fd(), key.data(), value, BPF_ANY) == 0) {
    return {};
  }
  return failed(("put socket " + std::to_string(socket_fd)).c_str(), "bpf(BPF_MAP_UPDATE_ELEM)", errno);
}

Result<void> Map::set_for_socket(int socket_fd, std::span<const uint8_t> value) const {
  if (type() != BPF_MAP_TYPE_SK_STORAGE) {
    return failure("ERR_BPF_MAP", "map " + name_ + " is no sk_storage, its type is " + type_name());
  }
  if (auto checked = check_value(value); !checked) {
    return checked;
  }
  if (bpf_map_update_elem(fd(), &socket_fd, value.data(), BPF_ANY) == 0) {
    return {};
  }
  return failed(("set the value of socket " + std::to_string(socket_fd)).c_str(), "bpf(BPF_MAP_UPDATE_ELEM)",
                errno);
}

Result<bool> Map::get_for_socket(int socket_fd, std::span<uint8_t> value) const {
  if (type() != BPF_MAP_TYPE_SK_STORAGE) {
    return failure("ERR_BPF_MAP", "map " + name_ + " is no sk_storage, its type is " + type_name());
  }
  if (auto checked = check_value(value); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (bpf_map_lookup_elem(fd(), &socket_fd, value.data()) == 0) {
    return true;
  }
  if (errno == ENOENT) {
    return false;
  }
  return failed(("look up socket " + std::to_string(socket_fd)).c_str(), "bpf(BPF_MAP_LOOKUP_ELEM)", errno);
}

Result<bool> Map::remove_for_socket(int socket_fd) const {
  if (type() != BPF_MAP_TYPE_SK_STORAGE) {
    return failure("ERR_BPF_MAP", "map " + name_ + " is no sk_storage, its type is " + type_name());
  }
  if (bpf_map_delete_elem(fd(), &socket_fd) == 0) {
    return true;
  }
  if (errno == ENOENT) {
    return false;
  }
  return failed(("forget socket " + std::to_string(socket_fd)).c_str(), "bpf(BPF_MAP_DELETE_ELEM)", errno);
}

Result<void> Map::pin(const std::string& path) const { return bpf::pin(fd(), "map " + name_, path); }

}  // namespace hadal::bpf
