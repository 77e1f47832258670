// What the agent asks of a network namespace it holds by descriptor. Each call runs inside the namespace on a
// thread of its own (netns_visit.h), so the caller never moves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/net/address.h"

namespace hadal::net {

struct NetnsIdentity {
  /// SO_NETNS_COOKIE (Linux 5.14): never reused while the machine runs, what BPF programs see.
  uint64_t cookie = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
};

struct InterfaceAddress {
  std::string interface_name;
  uint32_t interface_index = 0;
  IpAddress address;
  uint8_t prefix_length = 0;

  friend bool operator==(const InterfaceAddress&, const InterfaceAddress&) = default;
};

/// `/proc/<pid>/ns/net`, `/run/netns/<name>`: refused when it is no network namespace.
[[nodiscard]] Result<UniqueFd> open_netns(const std::string& path);

[[nodiscard]] Result<NetnsIdentity> netns_identity(int netns_fd);

/// All addresses that are usable, those of `lo` included; tentative and failed IPv6 addresses are left out.
[[nodiscard]] Result<std::vector<InterfaceAddress>> netns_addresses(int netns_fd);

struct NetworkLink {
  uint32_t index = 0;
  std::string name;
  /// `veth`, `bridge`, `vxlan`; '' for a card of hardware and `lo`.
  std::string kind;
  /// Of the bridge or the like whose port it is; 0: none.
  uint32_t master = 0;
};

[[nodiscard]] Result<std::vector<NetworkLink>> netns_links(int netns_fd);

/// Indexes in `other_fd` of the interfaces whose other end is in `netns_fd`: of a pod's veth the end in the
/// node's namespace.
[[nodiscard]] Result<std::vector<uint32_t>> link_ends(int netns_fd, int other_fd);

/// `name` is a path below /proc/sys/net: `ipv4/tcp_fwmark_accept`, `ipv4/conf/eth0/rp_filter`.
[[nodiscard]] Result<std::string> read_sysctl(int netns_fd, const std::string& name);
[[nodiscard]] Result<void> write_sysctl(int netns_fd, const std::string& name, const std::string& value);

}  // namespace hadal::net
