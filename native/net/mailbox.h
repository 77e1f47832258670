// The one way into a worker: any thread posts, the worker's loop takes everything at once.
#pragma once

#include <sys/eventfd.h>

#include <cerrno>
#include <mutex>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"

namespace hadal::net {

template <typename Command>
class Mailbox {
 public:
  [[nodiscard]] Result<void> open() {
    wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_.valid()) {
      return system_failure("ERR_TUNNEL_LOOP", "create the wake-up descriptor of a worker", "eventfd", errno);
    }
    return {};
  }

  [[nodiscard]] int fd() const { return wake_.get(); }

  /// From any thread.
  void post(Command command) {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      first = posted_.empty();
      posted_.push_back(std::move(command));
    }
    if (first) {
      eventfd_write(wake_.get(), 1);
    }
  }

  /// On the worker's thread. `into` is emptied first; it and the mailbox swap their memory.
  void take(std::vector<Command>& into) {
    into.clear();
    eventfd_t ignored = 0;
    eventfd_read(wake_.get(), &ignored);
    const std::lock_guard lock(mutex_);
    into.swap(posted_);
  }

 private:
  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<Command> posted_;
};

}  // namespace hadal::net
