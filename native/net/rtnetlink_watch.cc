#include "native/net/rtnetlink_watch.h"

#include <linux/rtnetlink.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "native/net/capture_routes.h"
#include "native/net/interface_filters.h"
#include "native/net/netns_visit.h"

namespace hadal::net {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kCommands = UINT64_MAX;
// Events come in bursts (our own repair makes some, too): the first is handled at once, the rest together.
constexpr auto kGap = 20ms;
constexpr auto kRetry = 1s;

constexpr std::array<uint32_t, 9> kGroups = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                             RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
                                             RTNLGRP_IPV6_RULE,  RTNLGRP_IPV6_IFINFO, RTNLGRP_TC};

/// Whether this event can touch the capture or the addresses. A pod that is a router changes routes all the
/// time.
bool concerns(const nlmsghdr* message, const std::optional<CaptureRouting>& routing) {
  if (tells_lost_filter(message)) {
    return routing.has_value();
  }
  switch (message->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return true;
    case RTM_DELRULE: {
      const auto rule = parse_rule(message);
      return rule && routing && (rule->table == routing->table || rule->protocol == kCaptureProtocol);
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const auto route = parse_route(message);
      // The main table's default route tells which interface is the pod's main one.
      return route && routing &&
             (route->table == routing->table ||
              (route->table == RT_TABLE_MAIN && route->destination_bits == 0));
    }
    default:
      return false;
  }
}

}  // namespace

void NetnsWatcher::stop() {
  stopped_ = true;
  thread_.stop();
  watched_.clear();
}

Result<void> NetnsWatcher::start() {
  if (stopped_) {
    return failure("ERR_NETNS_WATCH",
                   "network namespaces are not watched any more: the environment is ending");
  }
  if (thread_.started()) {
    return {};
  }
  if (auto opened = commands_.open(); !opened) {
    return opened;
  }
  if (auto started = thread_.start("hadal-netns", "ERR_NETNS_WATCH", *this); !started) {
    return started;
  }
  thread_.watch(EPOLL_CTL_ADD, commands_.fd(), EPOLLIN, kCommands);
  return {};
}

Result<uint64_t> NetnsWatcher::watch(int netns_fd, std::optional<CaptureRouting> routing, Listener listener) {
  if (auto started = start(); !started) {
    return std::unexpected(std::move(started.error()));
  }
  auto watched = std::make_unique<Watched>();
  watched->netns = UniqueFd::duplicate(netns_fd);
  if (!watched->netns.valid()) {
    return system_failure("ERR_NETNS_WATCH", "cannot keep descriptor " + std::to_string(netns_fd), "fcntl",
                          errno);
  }
  auto opened = run_in_netns(netns_fd, [&]() -> Result<void> {
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, kGroups);
    if (!socket) {
      return std::unexpected(std::move(socket.error()));
    }
    watched->events = std::make_unique<NetlinkSocket>(std::move(*socket));
    return {};
  });
  if (!opened) {
    return std::unexpected(std::move(opened.error()));
  }
  watched->routing = routing;
  watched->listener = std::move(listener);
  const uint64_t id = ++last_id_;
  commands_.post(Add{.id = id, .watched = std::move(watched)});
  return id;
}

void NetnsWatcher::unwatch(uint64_t id) {
  if (stopped_) {
    return;
  }
  {
    const std::lock_guard lock(repairing_);
    unwatched_.insert(id);
  }
  commands_.post(Remove{.id = id});
}

void NetnsWatcher::capture_interfaces(uint64_t id, VirtualInterfaces interfaces) {
  if (!stopped_) {
    commands_.post(CaptureInterfaces{.id = id, .interfaces = std::move(interfaces)});
  }
}

void NetnsWatcher::on_ready(uint64_t id) {
  if (id == kCommands) {
    take_commands();
  } else if (const auto found = watched_.find(id); found != watched_.end()) {
    read_events(id, *found->second);
  }
}

void NetnsWatcher::take_commands() {
  commands_.take(taken_);
  for (Command& command : taken_) {
    if (auto* add = std::get_if<Add>(&command)) {
      Watched& watched = *add->watched;
      if (!thread_.watch(EPOLL_CTL_ADD, watched.events->fd(), EPOLLIN, add->id)) {
        watched.listener(WatchFailed{.message = "cannot wait for events of the network namespace"});
        continue;
      }
      watched_[add->id] = std::move(add->watched);
      notice(add->id, watched, Clock::now());
    } else if (auto* capture = std::get_if<CaptureInterfaces>(&command)) {
      if (const auto found = watched_.find(capture->id); found != watched_.end()) {
        found->second->interfaces = std::move(capture->interfaces);
        found->second->interfaces_told.reset();
        notice(capture->id, *found->second, Clock::now());
      }
    } else {
      const uint64_t id = std::get<Remove>(command).id;
      {
        const std::lock_guard lock(repairing_);
        unwatched_.erase(id);
      }
      watched_.erase(id);  // closing the socket takes it out of epoll
      std::erase(due_, id);
    }
  }
}

void NetnsWatcher::read_events(uint64_t id, Watched& watched) {
  bool relevant = false;
  auto drained = watched.events->drain(
      [&](const nlmsghdr* message) { relevant = relevant || concerns(message, watched.routing); });
  // Lost messages may have been about anything: compare everything.
  if (relevant || !drained || *drained == NetlinkSocket::Drained::lost) {
    notice(id, watched, watched.last + kGap);
  }
}

void NetnsWatcher::notice(uint64_t id, Watched& watched, Clock::time_point earliest) {
  if (watched.noticed) {
    return;
  }
  watched.noticed = Clock::now();
  watched.due = std::max(earliest, *watched.noticed);
  due_.push_back(id);
}

int NetnsWatcher::before_sleep() {
  auto next = Clock::time_point::max();
  std::vector<uint64_t> again;
  for (const uint64_t id : std::exchange(due_, {})) {
    Watched& watched = *watched_.at(id);
    if (watched.due <= Clock::now()) {
      synchronize(id, watched);
    }
    if (watched.noticed) {
      again.push_back(id);
      next = std::min(next, watched.due);
    }
  }
  due_ = std::move(again);
  if (due_.empty()) {
    return -1;
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(left, 0));
}

void NetnsWatcher::synchronize(uint64_t id, Watched& watched) {
  const std::lock_guard lock(repairing_);
  if (unwatched_.contains(id)) {
    watched.noticed.reset();
    return;
  }
  const auto repaired = repair(watched);
  watched.last = Clock::now();
  if (repaired) {
    watched.noticed.reset();
    watched.last_failure.clear();
    return;
  }
  watched.due = watched.last + kRetry;
  if (repaired.error().message != watched.last_failure) {
    watched.last_failure = repaired.error().message;
    watched.listener(WatchFailed{.message = repaired.error().message});
  }
}

Result<void> NetnsWatcher::repair(Watched& watched) {
  // A socket per repair, not per namespace: repairs are rare, descriptors are not free.
  auto socket = [&]() -> Result<NetlinkSocket> {
    const NetnsVisit visit(watched.netns.get());
    if (!visit.entered()) {
      return system_failure("ERR_NETNS", "cannot enter the watched network namespace", "setns", errno);
    }
    return open_route_socket();
  }();
  if (!socket) {
    return std::unexpected(std::move(socket.error()));
  }
  if (watched.routing) {
    auto repairs = sync_capture(*socket, *watched.routing, watched.state);
    if (!repairs) {
      return std::unexpected(std::move(repairs.error()));
    }
    if (auto done = repair_interfaces(watched, *socket, *repairs); !done) {
      return done;
    }
    const double after_ms =
        std::chrono::duration<double, std::milli>(Clock::now() - *watched.noticed).count();
    for (CaptureRepair& entry : *repairs) {
      if (entry.lost) {
        watched.listener(
            CaptureRestored{.what = entry.what, .detail = std::move(entry.detail), .after_ms = after_ms});
      }
    }
  }
  auto addresses = dump_addresses(*socket);
  if (!addresses) {
    return std::unexpected(std::move(addresses.error()));
  }
  if (!watched.addresses_told || *addresses != watched.addresses) {
    watched.addresses = *addresses;
    watched.addresses_told = true;
    watched.listener(AddressesChanged{.addresses = std::move(*addresses)});
  }
  return {};
}

Result<void> NetnsWatcher::repair_interfaces(Watched& watched, NetlinkSocket& socket,
                                             std::vector<CaptureRepair>& repairs) {
  if (!watched.interfaces) {
    return {};
  }
  auto states =
      sync_virtual_interfaces(socket, *watched.routing, *watched.interfaces, watched.state, repairs);
  if (!states) {
    return std::unexpected(std::move(states.error()));
  }
  if (watched.interfaces_told != *states) {
    watched.interfaces_told = *states;
    watched.listener(InterfacesChanged{.interfaces = std::move(*states)});
  }
  return {};
}

}  // namespace hadal::net
