// A stand-in for the capture programs, small enough to be written as instructions: steers a test pod's
// connections to the listeners of the tunnel under test, in the order that the real sk_lookup program has.
#pragma once

#include <cstdint>
#include <vector>

#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::test {

struct SteeringTargets {
  std::vector<int> outbound;
  std::vector<int> hbone;
  std::vector<int> plaintext;
};

/// Attached to the namespace of `netns_fd` until destroyed. Throws std::runtime_error when the kernel
/// refuses.
class Steering {
 public:
  Steering(int netns_fd, const net::IpAddress& own_v4, const net::IpAddress& own_v6, uint16_t hbone_port,
           const SteeringTargets& targets);

 private:
  UniqueFd map_;
  UniqueFd program_;
  UniqueFd link_;
};

}  // namespace hadal::test
