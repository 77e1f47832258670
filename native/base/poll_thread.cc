#include "native/base/poll_thread.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace hadal {
namespace {

constexpr uint64_t kWake = 0;

}  // namespace

Result<void> PollThread::start(const char* name, const char* code, Work& work) {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_.valid() || !wake_.valid() || !watch(EPOLL_CTL_ADD, wake_.get(), EPOLLIN, kWake)) {
    return system_failure(code, std::string("cannot start the thread ") + name, "epoll_create1", errno);
  }
  // Signals are for Node's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, name, &work] {
    pthread_setname_np(pthread_self(), name);
    run(work);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

void PollThread::stop() {
  stopping_ = true;
  if (thread_.joinable()) {
    wake();
    thread_.join();
  }
}

bool PollThread::watch(int operation, int fd, uint32_t events, uint64_t id) {
  epoll_event event{.events = events, .data = {.u64 = id}};
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

void PollThread::unwatch(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void PollThread::wake() { eventfd_write(wake_.get(), 1); }

void PollThread::run(Work& work) {
  std::array<epoll_event, 64> events{};
  while (!stopping_) {
    const int timeout_ms = work.before_sleep();
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count && !stopping_; ++i) {
      const uint64_t id = events[static_cast<size_t>(i)].data.u64;
      if (id != kWake) {
        work.on_ready(id);
        continue;
      }
      eventfd_t ignored = 0;
      eventfd_read(wake_.get(), &ignored);
    }
  }
}

}  // namespace hadal
