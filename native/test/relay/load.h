// Applications of both pods at work at once: long streams, short exchanges that end by RST, and connections
// that are given up at once.
#pragma once

#include <chrono>

#include "native/test/support/pod_world.h"

namespace hadal::test {

struct LoadResult {
  int streams = 0;
  int exchanges = 0;
  int aborts = 0;
  /// Bytes that did not come back as they were sent, or connections that failed.
  int wrong = 0;
};

[[nodiscard]] LoadResult run_load(const PodWorld& world, std::chrono::seconds duration);

}  // namespace hadal::test
