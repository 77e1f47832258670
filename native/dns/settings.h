#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "native/base/unique_fd.h"

namespace hadal::dns {

struct Settings {
  /// See TunnelSettings.exemptMapFd; its own copy.
  UniqueFd exempt_map{};
  std::chrono::milliseconds upstream_timeout{4'000};

  /// Of one pod.
  uint32_t queries_per_second = 10'000;
  uint32_t query_burst = 10'000;
  size_t waiting_queries = 64;
  size_t tcp_connections = 64;
  size_t upstream_queries = 256;
  /// Of all pods.
  size_t all_upstream_queries = 4'096;

  /// Older ones have been asked again, or given up.
  std::chrono::milliseconds longest_wait{2'000};
  std::chrono::milliseconds tcp_idle{5'000};
};

}  // namespace hadal::dns
