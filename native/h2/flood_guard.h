// Counts what a peer can send for free and we must answer. A token bucket per kind; an empty bucket ends the
// session.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

namespace hadal::h2 {

class TokenBucket {
 public:
  TokenBucket(uint32_t per_second, uint32_t burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}

  /// False when the bucket is empty.
  [[nodiscard]] bool take(int64_t now_ns) {
    if (now_ns > refilled_ns_) {
      tokens_ =
          std::min<double>(burst_, tokens_ + static_cast<double>(now_ns - refilled_ns_) * 1e-9 * per_second_);
      refilled_ns_ = now_ns;
    }
    if (tokens_ < 1) {
      return false;
    }
    tokens_ -= 1;
    return true;
  }

 private:
  double per_second_;
  double burst_;
  double tokens_;
  int64_t refilled_ns_ = 0;
};

struct FloodGuard {
  /// Per peer: every abort of an application is one, so the budget is large, and many tunnels do not multiply
  /// it.
  std::shared_ptr<TokenBucket> resets;
  /// PING, SETTINGS, PRIORITY, unknown frames, empty DATA, tiny WINDOW_UPDATE.
  TokenBucket control_frames;
};

}  // namespace hadal::h2
