#include "native/tunnel/spill_buffer.h"

#include <algorithm>
#include <cstring>

namespace hadal::tunnel {
namespace {

constexpr size_t kMinimumBytes = 1024;

}  // namespace

void SpillBuffer::append(std::span<const iovec> parts, size_t skip) {
  for (const iovec& part : parts) {
    const size_t skipped = std::min(skip, part.iov_len);
    skip -= skipped;
    append({static_cast<const uint8_t*>(part.iov_base) + skipped, part.iov_len - skipped});
  }
}

void SpillBuffer::append(std::span<const uint8_t> bytes) {
  if (bytes.empty()) {
    return;
  }
  reserve(bytes.size());
  std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
  end_ += static_cast<uint32_t>(bytes.size());
}

void SpillBuffer::drop_front(size_t count) {
  begin_ += static_cast<uint32_t>(count);
  if (begin_ == end_) {
    clear();
  }
}

void SpillBuffer::clear() {
  data_.reset();
  begin_ = end_ = capacity_ = 0;
}

void SpillBuffer::reserve(size_t more) {
  if (end_ + more <= capacity_) {
    return;
  }
  const size_t held = size();
  const size_t wanted = held + more;
  if (wanted <= capacity_ && begin_ >= capacity_ / 2) {
    std::memmove(data_.get(), data_.get() + begin_, held);
  } else {
    const size_t capacity = std::max({wanted, kMinimumBytes, size_t{capacity_} * 2});
    std::unique_ptr<uint8_t[]> grown(new uint8_t[capacity]);
    if (held > 0) {
      std::memcpy(grown.get(), data_.get() + begin_, held);
    }
    data_ = std::move(grown);
    capacity_ = static_cast<uint32_t>(capacity);
  }
  begin_ = 0;
  end_ = static_cast<uint32_t>(held);
}

}  // namespace hadal::tunnel
