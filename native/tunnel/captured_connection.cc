#include "native/tunnel/captured_connection.h"

#include "bpf/shared/reasons.h"
#include "native/net/socket.h"
#include "native/tunnel/outbound_flow.h"
#include "native/tunnel/plaintext_flow.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

void CapturedConnection::begin(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd,
                               const net::SocketAddress& peer) {
  // Owns itself: it ends as a flow or refused, and hands itself to the loop for disposal.
  auto* connection = new CapturedConnection(worker, pod, kind, std::move(fd));
  connection->ends_.source = peer;
  connection->ends_.destination = net::local_address(connection->fd_.get()).value_or(net::SocketAddress{});
  if (const uint16_t reason = connection->guard(); reason != HADAL_REASON_NONE) {
    connection->refuse(reason);
    return;
  }
  if (kind == ListenerKind::plaintext) {
    connection->listed_ =
        pod.list_own({.local = connection->ends_.destination, .remote = connection->ends_.source});
  }
  connection->ask();
}

CapturedConnection::CapturedConnection(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd)
    : Flow(worker, pod, kind == ListenerKind::outbound ? FlowDirection::outbound : FlowDirection::inbound,
           kind == ListenerKind::outbound ? FlowPath::tunnel : FlowPath::plaintext),
      kind_(kind),
      fd_(std::move(fd)) {}

uint16_t CapturedConnection::guard() const {
  if (kind_ == ListenerKind::outbound && !pod_.may_come_from(ends_.source.address)) {
    return HADAL_REASON_SOURCE_NOT_REGISTERED;
  }
  // Someone in the pod dialled our listener itself instead of being steered to it.
  if (pod_.is_own_listener(ends_.destination.port) &&
      (ends_.destination.address.is_loopback() || pod_.owns(ends_.destination.address))) {
    return HADAL_REASON_SELF_CALL;
  }
  // One of our own, that the connect hook should have let pass.
  if (kind_ == ListenerKind::outbound &&
      pod_.is_own_socket({.local = ends_.source, .remote = ends_.destination})) {
    return HADAL_REASON_SELF_CALL;
  }
  if (!pod_.admits_connection()) {
    return HADAL_REASON_QUOTA;
  }
  return HADAL_REASON_NONE;
}

void CapturedConnection::ask() {
  if (kind_ == ListenerKind::outbound) {
    if (!pod_.ask_outbound(ends_.destination, ends_.source.address, *this, *this)) {
      refuse(HADAL_REASON_QUOTA);
    }
    return;
  }
  InboundQuestion question{.key = {.pod_index = pod_.index(),
                                   .channel = InboundChannel::plaintext,
                                   .peer_address = ends_.source.address,
                                   .peer_identity = {},
                                   .authority = ends_.destination.text(),
                                   .forwarded_host = {}},
                           .baggage = {},
                           .forwarded_network = {}};
  if (!pod_.ask_inbound(std::move(question), *this, *this)) {
    refuse(HADAL_REASON_QUOTA);
  }
}

void CapturedConnection::on_outbound_row(const std::shared_ptr<const OutboundRow>& row, RowFlows& flows) {
  ends_.asked = asked();
  const OutboundEndpoint* endpoint = row->reason == HADAL_REASON_NONE ? row->pick(worker_.random()) : nullptr;
  if (endpoint == nullptr) {
    use_edge(row->refusal_edge);
    refuse(row->reason != HADAL_REASON_NONE ? row->reason : uint16_t{HADAL_REASON_NO_HEALTHY_ENDPOINT});
    return;
  }
  vanish();
  if (endpoint->path == EndpointPath::tunnel) {
    OutboundFlow::start(worker_, pod_, std::move(fd_), ends_, row, *endpoint, flows);
  } else {
    PlaintextFlow::start_outbound(worker_, pod_, std::move(fd_), ends_, *endpoint, flows);
  }
}

void CapturedConnection::on_inbound_row(const std::shared_ptr<const InboundRow>& row, RowFlows& flows) {
  ends_.asked = asked();
  if (row->reason != HADAL_REASON_NONE) {
    use_edge(row->edge);
    refuse(row->reason);
    return;
  }
  vanish();
  PlaintextFlow::start_inbound(worker_, pod_, {.fd = std::move(fd_), .listed = std::move(listed_)}, ends_,
                               *row, flows);
}

void CapturedConnection::on_deadline() {
  pod_.count_question_timeout();
  refuse(HADAL_REASON_DECISION_TIMEOUT);
}

// Its pod knows it until the turn ends, also when it is a flow by then, or refused: its socket tells.
void CapturedConnection::abort(uint16_t reason) {
  if (fd_.valid()) {
    refuse(reason);
  }
}

void CapturedConnection::refuse(uint16_t reason) {
  count_ended(reason);
  net::reset_on_close(fd_.get());
  fd_.reset();
  vanish();
}

void CapturedConnection::vanish() {
  disarm();
  unpark();
  worker_.loop().dispose(std::unique_ptr<net::Disposable>(this));
}

}  // namespace hadal::tunnel
