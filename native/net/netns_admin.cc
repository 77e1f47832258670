#include "native/net/netns_admin.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "native/net/netns_visit.h"
#include "native/net/rtnetlink.h"
#include "native/net/rtnetlink_dump.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace hadal::net {
namespace {

// Longer than any value of the network sysctls; tcp_allowed_congestion_control and the like are the longest.
constexpr size_t kSysctlBytes = 4096;

/// Only plain steps downwards: the name comes from configuration.
bool is_sysctl_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '/' || c == '@' || c == ':';
  };
  return !name.empty() && name.front() != '/' && name.find("..") == std::string_view::npos &&
         std::ranges::all_of(name, plain);
}

Result<UniqueFd> open_sysctl(const std::string& name, int flags) {
  if (!is_sysctl_name(name)) {
    return failure("ERR_NET_SYSCTL",
                   "'" + name + "' is no name below /proc/sys/net, such as ipv4/tcp_fwmark_accept");
  }
  // /proc/sys/net shows the namespace of the thread that opens; the visiting thread is inside.
  UniqueFd fd(::open(("/proc/sys/net/" + name).c_str(), flags | O_CLOEXEC));
  if (!fd.valid()) {
    return system_failure("ERR_NET_SYSCTL", "cannot open sysctl net/" + name, "open", errno);
  }
  return fd;
}

Result<std::vector<LinkEntry>> links_here() {
  auto socket = open_route_socket();
  return socket ? dump_links(*socket) : std::unexpected(std::move(socket.error()));
}

}  // namespace

Result<UniqueFd> open_netns(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return system_failure("ERR_NETNS", "cannot open network namespace " + path, "open", errno);
  }
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return failure("ERR_NETNS", path + " is not a network namespace");
  }
  return fd;
}

Result<NetnsIdentity> netns_identity(int netns_fd) {
  NetnsIdentity identity;
  struct stat status {};
  if (::fstat(netns_fd, &status) != 0) {
    return system_failure("ERR_NETNS", "cannot describe the network namespace", "fstat", errno);
  }
  identity.device = status.st_dev;
  identity.inode = status.st_ino;
  auto read = run_in_netns(netns_fd, [&]() -> Result<void> {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    socklen_t length = sizeof(identity.cookie);
    if (!socket.valid() ||
        ::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &identity.cookie, &length) != 0) {
      return system_failure("ERR_NETNS", "cannot read the cookie of the network namespace (Linux 5.14)",
                            "getsockopt(SO_NETNS_COOKIE)", errno);
    }
    return {};
  });
  if (!read) {
    return std::unexpected(std::move(read.error()));
  }
  return identity;
}

Result<std::vector<InterfaceAddress>> netns_addresses(int netns_fd) {
  std::vector<InterfaceAddress> addresses;
  auto read = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    auto dumped = dump_addresses(*socket);
    if (!dumped) {
      return std::unexpected(std::move(dumped.error()));
    }
    addresses = std::move(*dumped);
    return {};
  });
  if (!read) {
    return std::unexpected(std::move(read.error()));
  }
  return addresses;
}

Result<std::vector<NetworkLink>> netns_links(int netns_fd) {
  std::vector<NetworkLink> out;
  auto read = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto links = links_here();
    if (!links) {
      return std::unexpected(std::move(links.error()));
    }
    for (LinkEntry& link : *links) {
      out.push_back({.index = link.index,
                     .name = std::move(link.name),
                     .kind = std::move(link.kind),
                     .master = link.master});
    }
    return {};
  });
  if (!read) {
    return std::unexpected(std::move(read.error()));
  }
  return out;
}

Result<std::vector<uint32_t>> link_ends(int netns_fd, int other_fd) {
  std::vector<uint32_t> ends;
  auto read = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = open_route_socket();
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    // In this order: a namespace gets its number when a link that leads there is told of.
    auto links = dump_links(*socket);
    if (!links) {
      return std::unexpected(std::move(links.error()));
    }
    auto number = namespace_number(*socket, other_fd);
    if (!number) {
      return std::unexpected(std::move(number.error()));
    }
    for (const LinkEntry& link : *links) {
      if (*number && link.peer != 0 && link.peer_namespace == *number) {
        ends.push_back(link.peer);
      }
    }
    return {};
  });
  if (!read) {
    return std::unexpected(std::move(read.error()));
  }
  return ends;
}

Result<std::string> read_sysctl(int netns_fd, const std::string& name) {
  std::string value(kSysctlBytes, '\0');
  auto read = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto fd = open_sysctl(name, O_RDONLY);
    if (!fd) {
      return std::unexpected(std::move(fd.error()));
    }
    const ssize_t length = ::read(fd->get(), value.data(), value.size());
    if (length < 0) {
      return system_failure("ERR_NET_SYSCTL", "cannot read sysctl net/" + name, "read", errno);
    }
    value.resize(static_cast<size_t>(length));
    return {};
  });
  if (!read) {
    return std::unexpected(std::move(read.error()));
  }
  while (!value.empty() && value.back() == '\n') {
    value.pop_back();
  }
  return value;
}

Result<void> write_sysctl(int netns_fd, const std::string& name, const std::string& value) {
  return run_in_netns(netns_fd, [&]() -> Result<void> {
    auto fd = open_sysctl(name, O_WRONLY);
    if (!fd) {
      return std::unexpected(std::move(fd.error()));
    }
    if (::write(fd->get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
      return system_failure("ERR_NET_SYSCTL", "cannot set sysctl net/" + name + " to '" + value + "'",
                            "write", errno);
    }
    return {};
  });
}

}  // namespace hadal::net
