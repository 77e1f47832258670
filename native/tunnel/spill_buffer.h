// Payload that the application did not take yet. Bounded from outside by the stream's window: credit for what
// lies here has not been returned. Empty, it holds no memory.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace hadal::tunnel {

class SpillBuffer {
 public:
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] size_t size() const { return end_ - begin_; }
  [[nodiscard]] std::span<uint8_t> bytes() { return {data_.get() + begin_, size()}; }

  /// Appends the parts without their first `skip` bytes.
  void append(std::span<const iovec> parts, size_t skip);
  void append(std::span<const uint8_t> bytes);
  void drop_front(size_t count);
  void clear();

 private:
  void reserve(size_t more);

  std::unique_ptr<uint8_t[]> data_;
  uint32_t begin_ = 0;
  uint32_t end_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace hadal::tunnel
