// What became of queries, by numbers whose labels TypeScript knows.
#pragma once

#include <array>
#include <cstdint>

namespace hadal::dns {

/// Bounds of the buckets of how long nameservers take, in seconds; one more has all others.
inline constexpr std::array kUpstreamSeconds{0.0005, 0.001, 0.01, 0.1, 1.0, 5.0};

struct AnswerCounts {
  uint64_t requests = 0;
  uint64_t upstream_requests = 0;
  uint64_t upstream_failures = 0;
  double upstream_seconds = 0;
  std::array<uint64_t, kUpstreamSeconds.size() + 1> upstream_buckets{};
};

enum class Drop : uint8_t {
  /// The pod asks more than its share of TypeScript's time answers.
  over_share,
  /// It asks more in a second than any pod may.
  over_rate,
  /// It waited until its asker has given up.
  too_late,
};
inline constexpr size_t kDrops = 3;
using DropCounts = std::array<uint64_t, kDrops>;

}  // namespace hadal::dns
