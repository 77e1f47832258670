// What a fuzz target holds to be true: breaking it is a finding like a crash.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace hadal::fuzz {

inline void require(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
  }
}

}  // namespace hadal::fuzz
