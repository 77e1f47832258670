// The source ports under which we deliver to an application when the client's own is not to be had. Towards
// the application's address both a captured connection and a delivery belong to the pod's namespace, in
// opposite directions, and the kernel compares tuples in one direction only: a delivery from a port that the
// client uses for another connection would meet that connection instead of the application, and a client that
// later takes the port of a delivery would meet the application's end of it. So these are ports that clients
// hardly ever take.
#pragma once

#include <cstdint>

namespace hadal::tunnel {

class DeliveryPorts {
 public:
  /// More in vain, and the kernel may choose.
  static constexpr int kAttempts = 16;

  /// Odd, as connect() prefers the parity of its range's lower bound, which is even everywhere (Linux 4.2,
  /// inet_hash_connect); below the dynamic range first (RFC 6335 section 6, ip_local_port_range), but above
  /// where servers listen, who may not find their port in use.
  [[nodiscard]] static uint16_t candidate(int attempt, uint64_t random) {
    const bool below = attempt < kAttempts / 2;
    const uint32_t first = below ? 16'385 : 32'769;
    const uint32_t last = below ? 32'767 : 60'999;
    return static_cast<uint16_t>(first + 2 * (random % ((last - first) / 2 + 1)));
  }
};

}  // namespace hadal::tunnel
