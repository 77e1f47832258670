// What TypeScript sets once per tunnel and once per pod; `TunnelSettings` and `PodSettings` of
// src/native/types.ts say what each means. Shared by all workers, never changed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "native/h2/session.h"
#include "native/net/address.h"

namespace hadal::tunnel {

struct PoolSettings {
  uint32_t max_streams_per_connection = 100;
  uint32_t busy_streams_per_connection = 64;
  uint32_t max_connections_per_key = 8;
  std::chrono::milliseconds idle_release{300'000};
};

struct LimitSettings {
  uint32_t parked_per_pod = 4096;
  uint32_t connections_per_pod = 50'000;
  uint32_t rows_per_pod = 65'536;
  // Of one pod, on one worker.
  uint32_t dialled_tunnels_per_pod = 4'096;
  /// One tunnel's window lets 16 MB in; a peer may open many.
  size_t kept_bytes_per_pod = size_t{256} << 20;
};

struct Settings {
  uint32_t workers = 1;
  int exempt_map_fd = -1;
  uint32_t mark = 0;
  uint16_t hbone_port = 15008;
  h2::SessionSettings http2;
  std::chrono::milliseconds ping_interval{10'000};
  std::chrono::milliseconds ping_timeout{20'000};
  PoolSettings pool;
  LimitSettings limits;
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds question_timeout{5'000};
  std::chrono::milliseconds flow_interval{5'000};
  std::chrono::microseconds spin{0};
  std::string local_congestion_control;
  bool keep_source_address = true;
  bool unsafe_plaintext_tunnels = false;
};

struct PodSettings {
  uint32_t pod_index = 0;
  int netns_fd = -1;
  /// The first of each family is its main one.
  std::vector<net::IpAddress> addresses;
  std::string identity;
};

}  // namespace hadal::tunnel
