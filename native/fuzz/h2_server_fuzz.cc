// The server's HTTP/2 session fed with whatever bytes, after a valid beginning or without one.
// Input: manners, size of the pieces, then the peer's bytes.
#include <algorithm>
#include <cstdint>
#include <span>

#include "native/fuzz/session_harness.h"

using hadal::fuzz::SessionHarness;

namespace {

constexpr uint8_t kBeginning[] =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\0\0\0\x04\0\0\0\0\0";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) {
    return 0;
  }
  // Small limits are reached by small inputs.
  SessionHarness harness(hadal::h2::Role::server, {.stream_window_bytes = 4096,
                                                   .connection_window_bytes = 1 << 16,
                                                   .max_frame_bytes = 1 << 14,
                                                   .max_concurrent_streams = 4,
                                                   .header_list_bytes = 512,
                                                   .resets_per_second = 10,
                                                   .reset_burst = 10,
                                                   .control_frames_per_second = 20});
  harness.set_manners(data[0] & 7);
  if ((data[0] & 8) == 0 && !harness.feed({kBeginning, sizeof(kBeginning) - 1}, 1)) {
    return 0;
  }
  const size_t piece = data[1] == 0 ? size : data[1];
  std::span<const uint8_t> left(data + 2, size - 2);
  for (int64_t now_ns = 2; !left.empty(); ++now_ns) {
    const auto part = left.first(std::min(piece, left.size()));
    if (!harness.feed(part, now_ns)) {
      return 0;
    }
    if ((data[0] & 16) != 0) {
      harness.act(part.front(), part.back());
    }
    left = left.subspan(part.size());
  }
  return 0;
}
