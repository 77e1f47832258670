// A netlink socket of the namespace in which it was opened, and one message being written for it.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "native/base/failure.h"

struct mnl_socket;

namespace hadal::net {

/// One request. Attributes are appended in the order they must have.
class NetlinkRequest {
 public:
  NetlinkRequest(uint16_t type, uint16_t flags);
  NetlinkRequest(const NetlinkRequest&) = delete;
  NetlinkRequest& operator=(const NetlinkRequest&) = delete;

  /// The fixed part behind the header; call once, before any attribute.
  template <typename Body>
  Body& body() {
    return *static_cast<Body*>(extra(sizeof(Body)));
  }
  NetlinkRequest& put(uint16_t attribute, uint32_t value);
  NetlinkRequest& put(uint16_t attribute, std::span<const uint8_t> bytes);

  [[nodiscard]] nlmsghdr* header() const { return header_; }

 private:
  [[nodiscard]] void* extra(size_t size);

  std::vector<uint64_t> memory_;  // netlink aligns to 4, structs in it to 8
  nlmsghdr* header_;
};

class NetlinkSocket {
 public:
  /// `protocol` is NETLINK_ROUTE or NETLINK_SOCK_DIAG; `groups` are multicast groups (RTNLGRP_...).
  [[nodiscard]] static Result<NetlinkSocket> open(int protocol, std::span<const uint32_t> groups = {});

  [[nodiscard]] int fd() const;

  /// Sends and waits for the acknowledgement; `what` names the change in the message.
  [[nodiscard]] Result<void> change(const NetlinkRequest& request, const std::string& what);
  /// Sends and hands each answer to `visit`. An interrupted dump (the table changed meanwhile) is asked
  /// again.
  [[nodiscard]] Result<void> dump(const NetlinkRequest& request, const std::string& what,
                                  const std::function<void(const nlmsghdr*)>& visit);

  enum class Drained : uint8_t { all, lost };
  /// Reads what waits on a subscribed socket, without blocking. `lost`: the kernel dropped messages
  /// (ENOBUFS).
  [[nodiscard]] Result<Drained> drain(const std::function<void(const nlmsghdr*)>& visit);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit NetlinkSocket(mnl_socket* socket) : socket_(socket) {}
  [[nodiscard]] Result<void> exchange(const NetlinkRequest& request, const std::string& what,
                                      const std::function<void(const nlmsghdr*)>& visit, bool& interrupted);

  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t sequence_ = 0;
};

[[nodiscard]] Result<NetlinkSocket> open_route_socket();

}  // namespace hadal::net
