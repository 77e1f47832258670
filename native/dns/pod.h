// One pod's part of the name service.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "native/base/unique_fd.h"
#include "native/dns/answer_rows.h"
#include "native/dns/counters.h"
#include "native/dns/forwarding.h"
#include "native/h2/flood_guard.h"
#include "native/net/address.h"
#include "native/net/deadline_queue.h"
#include "native/net/event_loop.h"

namespace hadal::dns {

class Server;
class TcpConnection;
class TcpListener;
class UdpSocket;

/// The agent's sockets on the pod's loopback for one nameserver.
struct Slot {
  Slot();
  ~Slot();

  std::unique_ptr<UdpSocket> udp;
  std::unique_ptr<TcpListener> tcp;
  /// Until TypeScript has told it, it is asked.
  std::optional<net::IpAddress> nameserver;
};

class Pod final : public net::Timed {
 public:
  Pod(Server& server, uint32_t pod_index, UniqueFd netns);
  ~Pod();

  [[nodiscard]] uint32_t index() const { return pod_index_; }
  [[nodiscard]] int netns() const { return netns_.get(); }

  /// Counts one. False: the pod has asked enough; its sockets are left unread for a moment.
  [[nodiscard]] bool may_ask();
  /// `reader` is read again when TypeScript has taken some of the pod's queries.
  void pause(net::Resumable& reader) { paused.push_back(reader); }
  void resume();
  /// The same after a moment.
  void rest();
  void on_deadline() override { resume(); }

  /// '' says nothing: TCP counts that it needs not wait for it any more.
  void reply(const Client& client, const std::string& message);

  Slot& slot(uint16_t number) { return slots[number]; }

  net::IntrusiveList<net::Resumable, net::AgainTag> paused;
  AnswerRows rows;
  uint32_t labels = 0;
  /// Why the kernel dropped what was not read.
  Drop unread = Drop::over_rate;
  std::map<uint16_t, Slot> slots;
  std::unordered_map<uint64_t, std::unique_ptr<TcpConnection>> connections;
  uint64_t last_connection = 0;
  std::unordered_map<Forwarding*, std::unique_ptr<Forwarding>> forwardings;

 private:
  Server& server_;
  uint32_t pod_index_;
  UniqueFd netns_;
  h2::TokenBucket rate_;
};

}  // namespace hadal::dns
