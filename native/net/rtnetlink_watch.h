// One thread that watches any number of network namespaces: keeps the capture's rule and routes in place and
// tells addresses. It sleeps until a namespace says something; a namespace costs two descriptors.
//
// A watched namespace stays alive while it is watched (its descriptor and a socket in it are open): stop
// watching when the pod goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "native/base/failure.h"
#include "native/base/poll_thread.h"
#include "native/base/unique_fd.h"
#include "native/net/mailbox.h"
#include "native/net/netns_admin.h"
#include "native/net/rtnetlink_capture.h"
#include "native/net/virtual_interfaces.h"

namespace hadal::net {

struct AddressesChanged {
  std::vector<InterfaceAddress> addresses;
};
struct CaptureRestored {
  CaptureRepair::What what = CaptureRepair::What::rule;
  std::string detail;
  /// From the moment the loss was noticed.
  double after_ms = 0;
};
/// A repair failed; it is tried again every second.
struct WatchFailed {
  std::string message;
};
/// How the virtual interfaces stand now.
struct InterfacesChanged {
  std::vector<InterfaceState> interfaces;
};
using NetnsChange = std::variant<AddressesChanged, CaptureRestored, WatchFailed, InterfacesChanged>;

class NetnsWatcher final : PollThread::Work {
 public:
  /// Called on the watcher's thread.
  using Listener = std::function<void(NetnsChange)>;

  NetnsWatcher() = default;
  NetnsWatcher(const NetnsWatcher&) = delete;
  NetnsWatcher& operator=(const NetnsWatcher&) = delete;
  ~NetnsWatcher() { stop(); }

  /// Ends the thread, waits for it and forgets every namespace. Final: later calls do nothing.
  void stop();

  /// Duplicates `netns_fd`. The first changes come at once: what had to be added is no loss, then the
  /// addresses. Without `routing` only addresses are told.
  [[nodiscard]] Result<uint64_t> watch(int netns_fd, std::optional<CaptureRouting> routing,
                                       Listener listener);
  /// Keeps these interfaces captured from now on, beside the routing. The first state is told at once.
  void capture_interfaces(uint64_t id, VirtualInterfaces interfaces);
  /// Nothing is put back from now on: what is removed next stays removed. The listener may be called until
  /// the thread has taken notice.
  void unwatch(uint64_t id);

 private:
  using Clock = std::chrono::steady_clock;

  struct Watched {
    UniqueFd netns;
    std::unique_ptr<NetlinkSocket> events;
    std::optional<CaptureRouting> routing;
    Listener listener;
    CaptureState state;
    std::vector<InterfaceAddress> addresses;
    bool addresses_told = false;
    /// nullopt until somebody asked for some: what stands is left as it is.
    std::optional<VirtualInterfaces> interfaces;
    std::optional<std::vector<InterfaceState>> interfaces_told;
    std::string last_failure;
    /// Set while a synchronization is due.
    std::optional<Clock::time_point> noticed;
    Clock::time_point due;
    Clock::time_point last;
  };
  struct Add {
    uint64_t id = 0;
    std::unique_ptr<Watched> watched;
  };
  struct Remove {
    uint64_t id = 0;
  };
  struct CaptureInterfaces {
    uint64_t id = 0;
    VirtualInterfaces interfaces;
  };
  using Command = std::variant<Add, Remove, CaptureInterfaces>;

  [[nodiscard]] Result<void> start();
  [[nodiscard]] int before_sleep() override;
  void on_ready(uint64_t id) override;
  void take_commands();
  void read_events(uint64_t id, Watched& watched);
  void notice(uint64_t id, Watched& watched, Clock::time_point earliest);
  void synchronize(uint64_t id, Watched& watched);
  [[nodiscard]] static Result<void> repair(Watched& watched);
  [[nodiscard]] static Result<void> repair_interfaces(Watched& watched, NetlinkSocket& socket,
                                                      std::vector<CaptureRepair>& repairs);

  Mailbox<Command> commands_;
  uint64_t last_id_ = 0;
  bool stopped_ = false;
  /// Held while a namespace is repaired.
  std::mutex repairing_;
  std::unordered_set<uint64_t> unwatched_;
  // Below: the thread's own.
  std::unordered_map<uint64_t, std::unique_ptr<Watched>> watched_;
  std::vector<uint64_t> due_;
  std::vector<Command> taken_;
  PollThread thread_;
};

}  // namespace hadal::net
