// Latencies of one slice in nanoseconds, kept whole: a slice is short, and exact percentiles need no binning.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace hadal::bench {

class LatencySamples {
 public:
  void clear() { samples_.clear(); }
  void add(uint64_t ns) { samples_.push_back(static_cast<uint32_t>(std::min<uint64_t>(ns, UINT32_MAX))); }
  void merge(const LatencySamples& other) {
    samples_.insert(samples_.end(), other.samples_.begin(), other.samples_.end());
  }

  /** The p-quantile (0 to 1) in microseconds; 0 without samples. Reorders the samples. */
  [[nodiscard]] double quantile_us(double p) {
    if (samples_.empty()) return 0;
    const size_t index =
        std::min(samples_.size() - 1, static_cast<size_t>(p * static_cast<double>(samples_.size())));
    std::nth_element(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(index), samples_.end());
    return samples_[index] / 1000.0;
  }

 private:
  std::vector<uint32_t> samples_;
};

}  // namespace hadal::bench
