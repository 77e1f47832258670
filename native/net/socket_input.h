// The reading half of an edge-triggered socket: remembers whether a read can bring anything, so nobody calls
// recv() only to hear EAGAIN.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace hadal::net {

class SocketInput {
 public:
  enum class Status : uint8_t { bytes, drained, ended, failed };
  struct Outcome {
    Status status = Status::drained;
    size_t bytes = 0;
  };

  void on_ready(uint32_t events) {
    readable_ |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    // After this a short read does not mean drained: the end itself is still to be read.
    ending_ |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    broken_ |= (events & EPOLLERR) != 0;
  }

  /// The peer's RST, or a timeout: the connection is no more, close() sends nothing.
  [[nodiscard]] bool broken() const { return broken_; }

  [[nodiscard]] bool readable() const { return readable_; }
  [[nodiscard]] int error() const { return error_; }

  [[nodiscard]] Outcome read(int fd, void* into, size_t size) {
    iovec one{.iov_base = into, .iov_len = size};
    return read(fd, &one, 1, size);
  }

  /// `size` is the sum of the parts.
  [[nodiscard]] Outcome read(int fd, iovec* parts, int count, size_t size) {
    ssize_t got = 0;
    do {
      got = count == 1 ? recv(fd, parts->iov_base, parts->iov_len, 0) : readv(fd, parts, count);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
      readable_ = ending_ || static_cast<size_t>(got) == size;
      return {Status::bytes, static_cast<size_t>(got)};
    }
    readable_ = false;
    if (got == 0) {
      return {Status::ended, 0};
    }
    if (errno == EAGAIN) {
      return {Status::drained, 0};
    }
    error_ = errno;
    broken_ = true;
    return {Status::failed, 0};
  }

 private:
  int error_ = 0;
  bool readable_ = false;
  bool ending_ = false;
  bool broken_ = false;
};

}  // namespace hadal::net
