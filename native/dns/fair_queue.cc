#include "native/dns/fair_queue.h"

#include <algorithm>

namespace hadal::dns {

bool FairQueue::push(Asked&& asked) {
  Pod& pod = pods_[asked.pod_index];
  if (asked.kind == Asked::Kind::query && pod.waiting.size() >= most_per_pod_) {
    return false;
  }
  if (pod.waiting.empty()) {
    pod.spent = std::max(pod.spent, served_at_);
    turns_.emplace(pod.spent, asked.pod_index);
  }
  pod.waiting.push_back(std::move(asked));
  return true;
}

std::optional<Asked> FairQueue::take() {
  if (turns_.empty()) {
    return std::nullopt;
  }
  const auto [spent, pod_index] = *turns_.begin();
  Pod& pod = pods_[pod_index];
  served_at_ = spent;
  Asked asked = std::move(pod.waiting.front());
  pod.waiting.pop_front();
  if (pod.waiting.empty()) {
    turns_.erase(turns_.begin());
  }
  return asked;
}

void FairQueue::charge(uint32_t pod_index, uint64_t cost) {
  const auto found = pods_.find(pod_index);
  if (found == pods_.end()) {
    return;
  }
  Pod& pod = found->second;
  const bool has_turn = turns_.erase({pod.spent, pod_index}) > 0;
  pod.spent += cost;
  if (has_turn) {
    turns_.emplace(pod.spent, pod_index);
  }
}

void FairQueue::remove(uint32_t pod_index) {
  const auto found = pods_.find(pod_index);
  if (found != pods_.end()) {
    turns_.erase({found->second.spent, pod_index});
    pods_.erase(found);
  }
}

size_t FairQueue::waiting(uint32_t pod_index) const {
  const auto found = pods_.find(pod_index);
  return found == pods_.end() ? 0 : found->second.waiting.size();
}

}  // namespace hadal::dns
