// The load generator's server: two epoll threads on four ports.
#pragma once

#include <cstdint>

namespace hadal::bench {

/**
 * Serves until stdin ends: `port` echoes, `port + 1` reads and discards, `port + 2` sends while the source is
 * on, `port + 3` echoes on connections that end at once. Connections of the first three are shared out evenly
 * among the threads. Commands on stdin, one a line: `mark` answers `{"bytes":N,"ns":T}` (received on the
 * discard port so far, CLOCK_MONOTONIC), `source on` and `source off` start and stop the sending.
 */
int run_server(uint16_t port);

}  // namespace hadal::bench
