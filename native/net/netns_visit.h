// Entering another network namespace to create sockets there. A socket keeps its namespace for life and works
// from any thread, so only its creation has to happen inside.
#pragma once

#include <functional>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"

namespace hadal::net {

/// The calling thread is inside `netns_fd` while this lives. Only for threads of our own: one that cannot
/// come back ends the process, because its next socket would be created in a pod's namespace.
class NetnsVisit {
 public:
  explicit NetnsVisit(int netns_fd);
  ~NetnsVisit();
  NetnsVisit(const NetnsVisit&) = delete;
  NetnsVisit& operator=(const NetnsVisit&) = delete;

  /// False with errno set: the thread never left.
  [[nodiscard]] bool entered() const { return entered_; }

 private:
  UniqueFd home_;
  bool entered_ = false;
};

/// Runs `work` inside the namespace on a thread made for it, so the caller's thread (Node's main one) never
/// moves.
[[nodiscard]] Result<void> run_in_netns(int netns_fd, const std::function<Result<void>()>& work);

}  // namespace hadal::net
