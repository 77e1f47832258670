// The load generator's client: one blocking thread per connection, measured in slices.
#pragma once

#include <cstdint>
#include <string>

namespace hadal::bench {

enum class Load { round_trip, connections, upload, download, idle };

struct ClientOptions {
  Load load = Load::round_trip;
  std::string host;
  uint16_t port = 0;
  int connections = 1;
  int message_bytes = 64;
};

/**
 * Connects everything, warms it by 100 exchanges, prints `{"ready":N}`, then obeys stdin until it ends:
 * `run MS` works for MS milliseconds and prints one line
 * `{"operations":N,"bytes":B,"ns":T,"start":T0,"failures":F,"p50":us,"p90":us,"p99":us}`.
 * `bytes` counts what was received for downloads, what was sent for uploads. The process sleeps between
 * slices.
 */
int run_client(const ClientOptions& options);

}  // namespace hadal::bench
