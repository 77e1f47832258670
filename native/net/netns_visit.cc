#include "native/net/netns_visit.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace hadal::net {

NetnsVisit::NetnsVisit(int netns_fd) : home_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  entered_ = home_.valid() && setns(netns_fd, CLONE_NEWNET) == 0;
}

NetnsVisit::~NetnsVisit() {
  if (entered_ && setns(home_.get(), CLONE_NEWNET) != 0) {
    std::perror("hadal: a worker cannot return to its own network namespace");
    std::abort();
  }
}

Result<void> run_in_netns(int netns_fd, const std::function<Result<void>()>& work) {
  Result<void> result;
  std::thread visitor([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      result = system_failure("ERR_NETNS",
                              "enter the network namespace behind descriptor " + std::to_string(netns_fd),
                              "setns", errno);
      return;
    }
    result = work();
  });
  visitor.join();
  return result;
}

}  // namespace hadal::net
