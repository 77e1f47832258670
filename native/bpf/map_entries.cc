// Many entries of a map at once: by the kernel's batch calls (5.6) where the map type has them, else one by
// one.
#include <algorithm>
#include <cerrno>

#include "native/bpf/map.h"

namespace hadal::bpf {
namespace {

// Kernel-internal errno for "this map type has no such operation"; it reaches user space from the batch
// calls.
constexpr int kNotSupported = 524;

std::string bytes(size_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

}  // namespace

Result<PackedEntries> Map::keys() const { return scan_by_key(false); }

Result<PackedEntries> Map::entries() const {
  auto batched = scan_by_batch();
  if (!batched) {
    return std::unexpected(std::move(batched.error()));
  }
  return *batched ? Result<PackedEntries>(std::move(**batched)) : scan_by_key(true);
}

// nullopt: this map type or kernel has no batch lookup.
Result<std::optional<PackedEntries>> Map::scan_by_batch() const {
  const size_t value_size = value_bytes();
  PackedEntries all;
  uint32_t step = std::clamp(info_.max_entries, 1u, 4096u);
  // A hash map's position is a bucket number, other maps' a key.
  std::vector<uint8_t> position(std::max<size_t>(info_.key_size, 4));
  std::vector<uint8_t> next(position.size());
  for (bool first = true;;) {
    std::vector<uint8_t> keys(size_t{step} * info_.key_size);
    std::vector<uint8_t> values(size_t{step} * value_size);
    uint32_t count = step;
    const int status = bpf_map_lookup_batch(fd(), first ? nullptr : position.data(), next.data(), keys.data(),
                                            values.data(), &count, nullptr);
    const int error = status == 0 ? 0 : errno;
    if (error == ENOSPC) {
      // One bucket holds more entries than fit: nothing was lost, ask again with more room.
      step *= 2;
      continue;
    }
    if (error != 0 && error != ENOENT) {
      if (first && (error == EINVAL || error == EOPNOTSUPP || error == kNotSupported)) {
        return std::optional<PackedEntries>{};
      }
      return failed("read its entries", "bpf(BPF_MAP_LOOKUP_BATCH)", error);
    }
    keys.resize(size_t{count} * info_.key_size);
    values.resize(size_t{count} * value_size);
    all.keys.insert(all.keys.end(), keys.begin(), keys.end());
    all.values.insert(all.values.end(), values.begin(), values.end());
    all.count += count;
    if (error == ENOENT) {
      return std::optional(std::move(all));
    }
    std::swap(position, next);
    first = false;
  }
}

Result<PackedEntries> Map::scan_by_key(bool with_values) const {
  PackedEntries all;
  std::vector<uint8_t> key(info_.key_size);
  std::vector<uint8_t> next(info_.key_size);
  std::vector<uint8_t> value(value_bytes());
  // The walk starts again when its key was deleted meanwhile; the bound ends it under any amount of change.
  const size_t bound = size_t{info_.max_entries} * 2 + 16;
  for (size_t step = 0; step < bound; ++step) {
    if (bpf_map_get_next_key(fd(), step == 0 ? nullptr : key.data(), next.data()) != 0) {
      if (errno == ENOENT) {
        break;
      }
      return failed("list its keys", "bpf(BPF_MAP_GET_NEXT_KEY)", errno);
    }
    std::swap(key, next);
    if (with_values) {
      if (bpf_map_lookup_elem(fd(), key.data(), value.data()) != 0) {
        if (errno == ENOENT) {
          continue;
        }
        return failed("read its entries", "bpf(BPF_MAP_LOOKUP_ELEM)", errno);
      }
      all.values.insert(all.values.end(), value.begin(), value.end());
    }
    all.keys.insert(all.keys.end(), key.begin(), key.end());
    ++all.count;
  }
  return all;
}

Result<size_t> Map::set_batch(std::span<const uint8_t> keys, std::span<const uint8_t> values) const {
  const size_t value_size = value_bytes();
  if (info_.key_size == 0 || keys.size() % info_.key_size != 0 ||
      keys.size() / info_.key_size * value_size != values.size()) {
    return failure("ERR_BPF_SIZE", "map " + name_ + ": " + bytes(keys.size()) + " of keys and " +
                                       bytes(values.size()) +
                                       " of values are not the same number of entries of " +
                                       std::to_string(info_.key_size) + " and " + bytes(value_size));
  }
  const size_t total = keys.size() / info_.key_size;
  uint32_t done = static_cast<uint32_t>(total);
  if (total == 0 || bpf_map_update_batch(fd(), keys.data(), values.data(), &done, nullptr) == 0) {
    return total;
  }
  if (errno == E2BIG) {
    return done;
  }
  if (errno != EINVAL && errno != EOPNOTSUPP && errno != kNotSupported) {
    return failed("set many keys", "bpf(BPF_MAP_UPDATE_BATCH)", errno);
  }
  for (size_t i = 0; i < total; ++i) {
    const uint8_t* key = keys.data() + i * info_.key_size;
    if (bpf_map_update_elem(fd(), key, values.data() + i * value_size, BPF_ANY) != 0) {
      if (errno == E2BIG) {
        return i;
      }
      return failed("set many keys", "bpf(BPF_MAP_UPDATE_ELEM)", errno);
    }
  }
  return total;
}

Result<size_t> Map::remove_batch(std::span<const uint8_t> keys) const {
  if (info_.key_size == 0 || keys.size() % info_.key_size != 0) {
    return failure("ERR_BPF_SIZE", "map " + name_ + ": " + bytes(keys.size()) +
                                       " are no whole number of keys of " + bytes(info_.key_size));
  }
  const size_t total = keys.size() / info_.key_size;
  size_t removed = 0;
  bool batched = true;
  for (size_t at = 0; at < total;) {
    const uint8_t* key = keys.data() + at * info_.key_size;
    uint32_t count = static_cast<uint32_t>(total - at);
    if (batched && bpf_map_delete_batch(fd(), key, &count, nullptr) == 0) {
      return removed + count;
    }
    if (batched && errno == ENOENT && count < total - at) {
      // The kernel stops at a key that does not exist.
      removed += count;
      at += count + 1;
      continue;
    }
    batched = false;
    auto one = remove({key, info_.key_size});
    if (!one) {
      return std::unexpected(std::move(one.error()));
    }
    removed += *one ? 1 : 0;
    ++at;
  }
  return removed;
}

}  // namespace hadal::bpf
