#include "native/tunnel/edge_counters.h"

namespace hadal::tunnel {

EdgeCounter& EdgeTable::use(uint32_t edge) {
  // Only this thread changes the shape, so looking needs no lock.
  auto found = edges_.find(edge);
  if (found == edges_.end()) {
    const std::lock_guard lock(mutex_);
    found = edges_.emplace(edge, std::make_unique<EdgeCounter>(edge)).first;
  }
  EdgeCounter& counter = *found->second;
  counter.removed_ = false;
  ++counter.users_;
  return counter;
}

void EdgeTable::release(EdgeCounter& counter) {
  if (--counter.users_ == 0 && counter.removed_) {
    erase(counter.edge);
  }
}

void EdgeTable::count_failure(uint32_t edge, uint16_t reason) {
  const std::lock_guard lock(mutex_);
  ++failures_[{edge, reason}];
}

void EdgeTable::remove(std::span<const uint32_t> edges) {
  for (const uint32_t edge : edges) {
    const auto found = edges_.find(edge);
    if (found != edges_.end() && found->second->users_ > 0) {
      found->second->removed_ = true;
    } else {
      erase(edge);
    }
  }
}

void EdgeTable::erase(uint32_t edge) {
  const std::lock_guard lock(mutex_);
  edges_.erase(edge);
  failures_.erase(failures_.lower_bound({edge, 0}), failures_.upper_bound({edge, UINT16_MAX}));
}

void EdgeTable::add_to(EdgeSnapshot& snapshot) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [edge, counter] : edges_) {
    EdgeTotals& totals = snapshot.edges[edge];
    totals.opened += counter->opened.read();
    totals.closed += counter->closed.read();
    totals.failed += counter->failed.read();
    totals.bytes_sent += counter->bytes_sent.read();
    totals.bytes_received += counter->bytes_received.read();
  }
  for (const auto& [key, count] : failures_) {
    snapshot.failures[key] += count;
    snapshot.edges[key.first];
  }
}

}  // namespace hadal::tunnel
