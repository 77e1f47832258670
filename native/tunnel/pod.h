// One enrolled pod on one worker: its listeners, decision tables, connections and tunnels.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "native/base/unique_fd.h"
#include "native/net/address.h"
#include "native/net/event_loop.h"
#include "native/tunnel/events.h"
#include "native/tunnel/flow.h"
#include "native/tunnel/listener.h"
#include "native/tunnel/questions.h"
#include "native/tunnel/rows.h"
#include "native/tunnel/settings.h"
#include "native/tunnel/socket_stock.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/tunnel_pool.h"

namespace hadal::tunnel {

/// Listeners of one worker inside the pod's namespace.
struct ListenerFds {
  UniqueFd outbound;
  UniqueFd hbone;
  UniqueFd plaintext;
};

class Pod : public net::Disposable {
 public:
  Pod(Worker& worker, const PodSettings& settings, UniqueFd netns, ListenerFds listeners,
      std::shared_ptr<PodLoad> load);

  [[nodiscard]] uint32_t index() const { return index_; }
  [[nodiscard]] const std::string& identity() const { return identity_; }
  [[nodiscard]] TunnelPool& pool() { return pool_; }
  void set_addresses(std::vector<net::IpAddress> addresses) { addresses_ = std::move(addresses); }
  [[nodiscard]] bool owns(const net::IpAddress& address) const;
  void set_holds_machine(bool holds) { holds_machine_ = holds; }
  /// Whether the kernel may have steered a connection of this source to us as one that the pod makes.
  [[nodiscard]] bool may_come_from(const net::IpAddress& source) const {
    return holds_machine_ || owns(source);
  }
  /// The source as others are told of it. Addresses of a machine inside the pod mean nothing to them.
  [[nodiscard]] net::SocketAddress outward(const net::SocketAddress& source) const;
  [[nodiscard]] bool is_own_listener(uint16_t port) const;
  [[nodiscard]] bool is_own_socket(const Connection& connection) const {
    return load_->own_sockets->contains(connection);
  }
  /// One that we accepted in clear.
  [[nodiscard]] OwnSocket list_own(const Connection& connection) { return {load_->own_sockets, connection}; }

  // Decision tables. A miss parks the connection and asks TypeScript, unless a quota is used up.
  /// False when a quota forbids to wait.
  [[nodiscard]] bool ask_outbound(const net::SocketAddress& destination, const net::IpAddress& source,
                                  Parked& parked, net::Timed& timed);
  [[nodiscard]] bool ask_inbound(InboundQuestion&& question, Parked& parked, net::Timed& timed);
  void put(const std::shared_ptr<const OutboundRow>& row);
  void put(const std::shared_ptr<const InboundRow>& row);
  /// Connections that the row let through go on, and are judged again when the mesh changes.
  void remove_outbound(const net::SocketAddress& destination);
  void remove_inbound(const InboundKey& key);
  /// Asks TypeScript about the connections whose row it has forgotten.
  void ask_about_forgotten();
  void count_question_timeout();
  /// A connection that had to ask has failed after all: its asker's next question tells.
  void note_failed_answer(FlowDirection direction, const net::IpAddress& peer);

  /// A socket on its way out of the pod from its own address; connecting. Invalid with errno set.
  [[nodiscard]] ListedSocket dial(const net::SocketAddress& destination);
  /// A socket on its way to the application, with the client's address and, if free, port.
  [[nodiscard]] UniqueFd deliver(const net::SocketAddress& client, const net::SocketAddress& upstream,
                                 bool loopback);
  /// How far a connect() is: 0 when it stands, EALREADY while it is on its way, else why it failed. Over lo
  /// it has usually ended when it returns, so asking saves a turn.
  [[nodiscard]] static int connect_progress(int fd);

  // Membership; quotas.
  [[nodiscard]] bool admits_connection() const;
  /// Anybody may connect to port 15008, so what has not shown a certificate yet is bounded on its own.
  [[nodiscard]] bool admits_tunnel() const;
  /// More tunnels out of the pod.
  [[nodiscard]] bool admits_dial() const;
  void enter_handshake() { ++handshakes_; }
  void leave_handshake() { --handshakes_; }
  void enter(Flow& flow);
  void leave(Flow& flow);
  void enter(Tunnel& tunnel);
  void leave(Tunnel& tunnel);
  [[nodiscard]] size_t flow_count() const { return flow_count_; }
  /// Payload that the tunnels' windows let in and slow applications have not taken.
  void change_kept(size_t before, size_t now) { kept_bytes_ += now - before; }
  [[nodiscard]] bool keeps_too_much() const;

  template <typename Visit>
  void for_each_flow(Visit visit) {
    flows_.for_each(visit);
  }
  template <typename Visit>
  void for_each_tunnel(Visit visit) {
    tunnels_.for_each(visit);
  }

  /// Once a second.
  void maintain(int64_t now_ns);
  void close_listeners();
  /// Gone from the worker's tables; it ends with its last connection.
  void retire(bool keep_connections, uint16_t reason);
  [[nodiscard]] bool retired() const { return retired_; }

 private:
  [[nodiscard]] bool may_park(size_t rows) const;
  [[nodiscard]] uint32_t take_failed_answers(const net::IpAddress& asker);
  void check_drained();
  template <typename Row>
  void hold(HeldRow<Row>& held, const std::shared_ptr<const Row>& row);
  template <typename Table, typename Key>
  void forget(Table& table, const Key& key);
  void prune_forgotten();
  [[nodiscard]] bool bind_delivery(int fd, const net::SocketAddress& client, const net::SocketAddress& target,
                                   int attempt);

  Worker& worker_;
  uint32_t index_;
  std::string identity_;
  std::vector<net::IpAddress> addresses_;
  bool holds_machine_ = false;
  UniqueFd netns_;
  std::shared_ptr<PodLoad> load_;
  Listener outbound_;
  Listener hbone_;
  Listener plaintext_;
  SocketStock stock_;
  TunnelPool pool_;
  std::unordered_map<net::SocketAddress, HeldRow<OutboundRow>, net::SocketAddressHash> outbound_rows_;
  std::unordered_map<std::string, HeldRow<InboundRow>, TextHash, std::equal_to<>> inbound_rows_;
  /// Rows in both tables that are forgotten and kept for their connections.
  size_t forgotten_rows_ = 0;
  Questions<net::SocketAddress, net::SocketAddressHash> outbound_questions_;
  Questions<std::string, TextHash> inbound_questions_;
  /// By peer; the pod's own, which ask to go out, under the unspecified address.
  std::map<net::IpAddress, uint32_t> failed_answers_;
  net::IntrusiveList<Flow, PodFlowTag> flows_;
  net::IntrusiveList<Tunnel, PodTunnelTag> tunnels_;
  size_t flow_count_ = 0;
  size_t tunnel_count_ = 0;
  size_t dialled_tunnels_ = 0;
  size_t kept_bytes_ = 0;
  bool retired_ = false;
  bool tell_drained_ = false;
  size_t handshakes_ = 0;
};

}  // namespace hadal::tunnel
