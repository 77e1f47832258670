// Bytes on their way into one socket. The memory is borrowed from the worker for as long as something is
// unsent, so a connection that sends nothing holds nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace hadal::net {

/// Equal blocks, lent and returned on one thread. A few stay for the next borrower, the rest is freed.
class BlockPool {
 public:
  BlockPool(size_t block_bytes, size_t kept) : block_bytes_(block_bytes), kept_(kept) {}

  using Block = std::unique_ptr<uint8_t[]>;

  [[nodiscard]] Block lend() {
    if (free_.empty()) {
      return Block(new uint8_t[block_bytes_]);
    }
    Block block = std::move(free_.back());
    free_.pop_back();
    return block;
  }

  void give_back(Block block) {
    if (free_.size() < kept_) {
      free_.push_back(std::move(block));
    }
  }

  [[nodiscard]] size_t block_bytes() const { return block_bytes_; }

 private:
  size_t block_bytes_;
  size_t kept_;
  std::vector<Block> free_;
};

class OutputBuffer {
 public:
  /// From here on the writer should send before it appends more; what comes unasked (alerts, key updates)
  /// still fits.
  static constexpr size_t kFullBytes = size_t{256} * 1024;
  static constexpr size_t kBlockBytes = kFullBytes + size_t{64} * 1024;

  enum class Sent { all, blocked, failed };

  explicit OutputBuffer(BlockPool& pool) : pool_(pool) {}
  ~OutputBuffer() { release(); }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] bool full() const { return end_ - begin_ >= kFullBytes; }
  [[nodiscard]] size_t size() const { return end_ - begin_; }

  /// False when it cannot hold more: the caller ignored full().
  [[nodiscard]] bool append(std::span<const uint8_t> bytes);

  /// Sends as much as the socket takes; errno is the reason of `failed`.
  [[nodiscard]] Sent send(int fd);

 private:
  void release();

  BlockPool& pool_;
  BlockPool::Block block_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace hadal::net
