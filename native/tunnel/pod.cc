#include "native/tunnel/pod.h"

#include <algorithm>
#include <cerrno>

#include "bpf/shared/reasons.h"
#include "native/net/socket.h"
#include "native/tunnel/delivery_ports.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

// Of one pod, on one worker.
constexpr size_t kMaxTunnels = 4096;
constexpr size_t kMaxHandshakes = 512;
constexpr size_t kMostAskers = 1024;

const net::IpAddress& loopback_of(const net::IpAddress& family_of) {
  static const net::IpAddress v4 = *net::IpAddress::parse("127.0.0.1");
  static const net::IpAddress v6 = *net::IpAddress::parse("::1");
  return family_of.is_v4() ? v4 : v6;
}

int family_of(const net::IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

bool bind_to(int fd, const net::SocketAddress& local) {
  const net::Sockaddr address(local);
  return bind(fd, address.get(), address.length) == 0;
}

/// 0 when connected or on the way.
int start_connect(int fd, const net::SocketAddress& to) {
  const net::Sockaddr address(to);
  return connect(fd, address.get(), address.length) == 0 || errno == EINPROGRESS ? 0 : errno;
}

}  // namespace

Pod::Pod(Worker& worker, const PodSettings& settings, UniqueFd netns, ListenerFds listeners,
         std::shared_ptr<PodLoad> load)
    : worker_(worker),
      index_(settings.pod_index),
      identity_(settings.identity),
      addresses_(settings.addresses),
      netns_(std::move(netns)),
      load_(std::move(load)),
      outbound_(worker, *this, ListenerKind::outbound, std::move(listeners.outbound)),
      hbone_(worker, *this, ListenerKind::hbone, std::move(listeners.hbone)),
      plaintext_(worker, *this, ListenerKind::plaintext, std::move(listeners.plaintext)),
      stock_(worker.settings(), netns_.get()),
      pool_(worker, *this) {}

bool Pod::owns(const net::IpAddress& address) const {
  return std::ranges::find(addresses_, address) != addresses_.end();
}

net::SocketAddress Pod::outward(const net::SocketAddress& source) const {
  if (owns(source.address)) {
    return source;
  }
  const auto main = std::ranges::find_if(
      addresses_, [&](const net::IpAddress& address) { return address.is_v4() == source.address.is_v4(); });
  return {main == addresses_.end() ? source.address : *main, source.port};
}

bool Pod::is_own_listener(uint16_t port) const {
  return port == outbound_.port() || port == hbone_.port() || port == plaintext_.port();
}

bool Pod::admits_connection() const {
  return load_->connections.load(std::memory_order_relaxed) <= worker_.settings().limits.connections_per_pod;
}

bool Pod::admits_tunnel() const {
  return tunnel_count_ - dialled_tunnels_ < kMaxTunnels && handshakes_ < kMaxHandshakes;
}

bool Pod::admits_dial() const { return dialled_tunnels_ < worker_.settings().limits.dialled_tunnels_per_pod; }

bool Pod::keeps_too_much() const { return kept_bytes_ > worker_.settings().limits.kept_bytes_per_pod; }

bool Pod::may_park(size_t rows) const {
  const LimitSettings& limits = worker_.settings().limits;
  return rows < limits.rows_per_pod && load_->parked.load(std::memory_order_relaxed) < limits.parked_per_pod;
}

bool Pod::ask_outbound(const net::SocketAddress& destination, const net::IpAddress& source, Parked& parked,
                       net::Timed& timed) {
  if (const auto found = outbound_rows_.find(destination);
      found != outbound_rows_.end() && !found->second.forgotten) {
    worker_.count_row_hit();
    // A copy: the row may be replaced while the connection starts.
    const std::shared_ptr<const OutboundRow> row = found->second.row;
    parked.on_outbound_row(row, found->second.flows);
    return true;
  }
  if (!may_park(outbound_rows_.size())) {
    return false;
  }
  parked.count_parked(*load_);
  worker_.question_deadlines().arm(timed, worker_.loop().now_ns());
  if (outbound_questions_.park(destination, parked)) {
    worker_.ask(OutboundQuestion{.pod_index = index_,
                                 .destination = destination,
                                 .source = source,
                                 .failed = take_failed_answers({})});
  }
  return true;
}

bool Pod::ask_inbound(InboundQuestion&& question, Parked& parked, net::Timed& timed) {
  const std::string key = question.key.packed();
  if (const auto found = inbound_rows_.find(key); found != inbound_rows_.end() && !found->second.forgotten) {
    worker_.count_row_hit();
    const std::shared_ptr<const InboundRow> row = found->second.row;
    parked.on_inbound_row(row, found->second.flows);
    return true;
  }
  if (!may_park(inbound_rows_.size())) {
    return false;
  }
  parked.count_parked(*load_);
  worker_.question_deadlines().arm(timed, worker_.loop().now_ns());
  if (inbound_questions_.park(key, parked)) {
    question.failed = take_failed_answers(question.key.peer_address);
    worker_.ask(std::move(question));
  }
  return true;
}

template <typename Row>
void Pod::hold(HeldRow<Row>& held, const std::shared_ptr<const Row>& row) {
  forgotten_rows_ -= held.forgotten ? 1 : 0;
  held.forgotten = false;
  held.row = row;
  if (row->ends_open) {
    worker_.end_open(held.flows, row->reason);
  }
}

void Pod::put(const std::shared_ptr<const OutboundRow>& row) {
  HeldRow<OutboundRow>& held = outbound_rows_[row->destination];
  hold(held, row);
  ParkedList waiting;
  outbound_questions_.take(row->destination, waiting);
  while (Parked* parked = waiting.front()) {
    parked->unpark();
    parked->on_outbound_row(row, held.flows);
  }
}

void Pod::put(const std::shared_ptr<const InboundRow>& row) {
  const std::string key = row->key.packed();
  HeldRow<InboundRow>& held = inbound_rows_[key];
  hold(held, row);
  ParkedList waiting;
  inbound_questions_.take(key, waiting);
  while (Parked* parked = waiting.front()) {
    parked->unpark();
    parked->on_inbound_row(row, held.flows);
  }
}

template <typename Table, typename Key>
void Pod::forget(Table& table, const Key& key) {
  const auto found = table.find(key);
  if (found == table.end()) {
    return;
  }
  if (found->second.flows.empty()) {
    forgotten_rows_ -= found->second.forgotten ? 1 : 0;
    table.erase(found);
  } else if (!found->second.forgotten) {
    found->second.forgotten = true;
    ++forgotten_rows_;
  }
}

void Pod::remove_outbound(const net::SocketAddress& destination) { forget(outbound_rows_, destination); }

void Pod::remove_inbound(const InboundKey& key) { forget(inbound_rows_, key.packed()); }

void Pod::ask_about_forgotten() {
  prune_forgotten();
  if (forgotten_rows_ == 0) {
    return;
  }
  for (auto& [destination, held] : outbound_rows_) {
    if (held.forgotten) {
      worker_.ask(
          OutboundQuestion{.pod_index = index_, .destination = destination, .source = {}, .open = true});
    }
  }
  for (auto& [key, held] : inbound_rows_) {
    if (held.forgotten) {
      worker_.ask(
          InboundQuestion{.key = held.row->key, .baggage = {}, .forwarded_network = {}, .open = true});
    }
  }
}

void Pod::prune_forgotten() {
  if (forgotten_rows_ == 0) {
    return;
  }
  const auto is_over = [this](auto& item) {
    const bool over = item.second.forgotten && item.second.flows.empty();
    forgotten_rows_ -= over ? 1 : 0;
    return over;
  };
  std::erase_if(outbound_rows_, is_over);
  std::erase_if(inbound_rows_, is_over);
}

void Pod::note_failed_answer(FlowDirection direction, const net::IpAddress& peer) {
  ++failed_answers_[direction == FlowDirection::outbound ? net::IpAddress{} : peer];
}

uint32_t Pod::take_failed_answers(const net::IpAddress& asker) {
  const auto found = failed_answers_.find(asker);
  if (found == failed_answers_.end()) {
    return 0;
  }
  const uint32_t count = found->second;
  failed_answers_.erase(found);
  return count;
}

void Pod::count_question_timeout() { worker_.count_question_timeout(); }

ListedSocket Pod::dial(const net::SocketAddress& destination) {
  UniqueFd fd = stock_.take(SocketUse::dial, family_of(destination.address), worker_.loop().now_ns());
  if (!fd.valid()) {
    return {};
  }
  // Policy at the other end sees this address.
  const auto main = std::ranges::find_if(addresses_, [&](const net::IpAddress& address) {
    return address.is_v4() == destination.address.is_v4();
  });
  if (main != addresses_.end() && !bind_to(fd.get(), {*main, 0})) {
    return {};
  }
  if (const int error = start_connect(fd.get(), destination); error != 0) {
    errno = error;
    return {};
  }
  OwnSocket listed(load_->own_sockets, {.local = net::local_address(fd.get()).value_or(net::SocketAddress{}),
                                        .remote = destination});
  return {.fd = std::move(fd), .listed = std::move(listed)};
}

UniqueFd Pod::deliver(const net::SocketAddress& client, const net::SocketAddress& upstream, bool loopback) {
  net::SocketAddress target = upstream;
  net::SocketAddress source = client;
  if (loopback) {
    target.address = loopback_of(upstream.address);
    source = {target.address, 0};
  }
  // The pod to itself by its own address, and families that do not match, connect as themselves.
  const bool keep = worker_.settings().keep_source_address &&
                    source.address.is_v4() == target.address.is_v4() && source.address != target.address;
  for (int attempt = 0;; ++attempt) {
    UniqueFd fd = stock_.take(SocketUse::delivery, family_of(target.address), worker_.loop().now_ns());
    if (!fd.valid()) {
      return {};
    }
    const bool bound = !keep || bind_delivery(fd.get(), source, target, attempt);
    const int error = bound ? start_connect(fd.get(), target) : errno;
    if (error == 0) {
      return fd;
    }
    // The port may be in TIME_WAIT towards this very target, or a listener's: any other will do.
    const bool port_in_use = error == EADDRNOTAVAIL || error == EADDRINUSE;
    if (!keep || !port_in_use || attempt >= DeliveryPorts::kAttempts) {
      errno = error;
      return {};
    }
  }
}

/// By the client's own port first, then by one that clients do not use, at last by any.
bool Pod::bind_delivery(int fd, const net::SocketAddress& client, const net::SocketAddress& target,
                        int attempt) {
  net::SocketAddress source = client;
  if (attempt > 0 || source.port == 0) {
    if (attempt >= DeliveryPorts::kAttempts) {
      source.port = 0;
      net::choose_port_at_connect(fd);
      return bind_to(fd, source);
    }
    source.port = DeliveryPorts::candidate(attempt, worker_.random());
  }
  if (is_own_socket({.local = target, .remote = source})) {
    errno = EADDRINUSE;
    return false;
  }
  return bind_to(fd, source);
}

int Pod::connect_progress(int fd) {
  // A second connect() looks at the state and not at the address.
  const sockaddr_storage any{.ss_family = AF_INET, .__ss_padding = {}, .__ss_align = 0};
  return connect(fd, reinterpret_cast<const sockaddr*>(&any), sizeof(sockaddr_in6)) == 0 ? 0 : errno;
}

void Pod::enter(Flow& flow) {
  flows_.push_back(flow);
  ++flow_count_;
  load_->connections.fetch_add(1, std::memory_order_relaxed);
}

void Pod::leave(Flow& flow) {
  flow.net::ListHook<PodFlowTag>::unlink();
  --flow_count_;
  load_->connections.fetch_sub(1, std::memory_order_relaxed);
  check_drained();
}

void Pod::enter(Tunnel& tunnel) {
  tunnels_.push_back(tunnel);
  ++tunnel_count_;
  dialled_tunnels_ += tunnel.role() == h2::Role::client ? 1 : 0;
}

void Pod::leave(Tunnel& tunnel) {
  tunnel.net::ListHook<PodTunnelTag>::unlink();
  --tunnel_count_;
  dialled_tunnels_ -= tunnel.role() == h2::Role::client ? 1 : 0;
  check_drained();
}

void Pod::maintain(int64_t now_ns) {
  tunnels_.for_each([&](Tunnel& tunnel) { tunnel.maintain(now_ns); });
  pool_.prune();
  outbound_questions_.prune();
  inbound_questions_.prune();
  prune_forgotten();
  stock_.trim(now_ns);
  // Who asks no more is no scanner any more.
  if (failed_answers_.size() > kMostAskers) {
    failed_answers_.clear();
  }
}

void Pod::close_listeners() {
  outbound_.close();
  hbone_.close();
  plaintext_.close();
}

void Pod::retire(bool keep_connections, uint16_t reason) {
  retired_ = true;
  tell_drained_ = keep_connections;
  close_listeners();
  if (!keep_connections) {
    flows_.for_each([&](Flow& flow) { flow.abort(reason); });
    tunnels_.for_each([&](Tunnel& tunnel) { tunnel.fail(reason, "the pod was removed"); });
  } else {
    tunnels_.for_each([](Tunnel& tunnel) { tunnel.announce_shutdown(); });
    pool_.retire_all();
  }
  check_drained();
}

void Pod::check_drained() {
  if (!retired_ || flow_count_ > 0) {
    return;
  }
  if (tunnel_count_ > 0) {
    tunnels_.for_each([](Tunnel& tunnel) { tunnel.fail(HADAL_REASON_NONE, "the pod was removed"); });
    return;
  }
  const bool last = load_->workers.fetch_sub(1) == 1;
  worker_.release(*this, last && tell_drained_);
}

}  // namespace hadal::tunnel
