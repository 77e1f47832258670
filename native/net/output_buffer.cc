#include "native/net/output_buffer.h"

#include <sys/socket.h>

#include <cerrno>

namespace hadal::net {

bool OutputBuffer::append(std::span<const uint8_t> bytes) {
  if (block_ == nullptr) {
    block_ = pool_.lend();
  }
  if (end_ + bytes.size() > kBlockBytes && begin_ > 0) {
    std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ + bytes.size() > kBlockBytes) {
    return false;
  }
  std::memcpy(block_.get() + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
  return true;
}

OutputBuffer::Sent OutputBuffer::send(int fd) {
  while (begin_ < end_) {
    const ssize_t sent = ::send(fd, block_.get() + begin_, end_ - begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      begin_ += static_cast<size_t>(sent);
    } else if (errno != EINTR) {
      return errno == EAGAIN ? Sent::blocked : Sent::failed;
    }
  }
  release();
  return Sent::all;
}

void OutputBuffer::release() {
  begin_ = end_ = 0;
  if (block_ != nullptr) {
    pool_.give_back(std::move(block_));
  }
}

}  // namespace hadal::net
