#include "native/tunnel/outbound_flow.h"

#include <array>
#include <charconv>

#include "bpf/shared/reasons.h"
#include "native/tunnel/client_tunnel.h"
#include "native/tunnel/forwarded.h"
#include "native/tunnel/hbone_headers.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

void OutboundFlow::start(Worker& worker, Pod& pod, UniqueFd fd, const FlowEnds& ends,
                         std::shared_ptr<const OutboundRow> row, const OutboundEndpoint& endpoint,
                         RowFlows& flows) {
  // Owns itself from here: it ends in finish() or break_off(), which hand it to the loop for disposal.
  auto* flow = new OutboundFlow(worker, pod, std::move(row), endpoint);
  flow->ends_ = ends;
  flow->ends_.endpoint = endpoint.destination;
  flow->use_edge(endpoint.edge);
  flows.push_back(*flow);
  if (!flow->adopt(std::move(fd))) {
    flow->break_off(HADAL_REASON_OUT_OF_RESOURCES);
    return;
  }
  flow->seek_tunnel();
}

OutboundFlow::OutboundFlow(Worker& worker, Pod& pod, std::shared_ptr<const OutboundRow> row,
                           const OutboundEndpoint& endpoint)
    : StreamFlow(worker, pod, FlowDirection::outbound), row_(std::move(row)), endpoint_(endpoint) {}

void OutboundFlow::seek_tunnel() {
  worker_.answer_deadlines().arm(*this, worker_.loop().now_ns());
  pod_.pool().acquire(endpoint_, *this);
}

void OutboundFlow::on_tunnel(ClientTunnel& tunnel) {
  if (done_) {
    return;  // the application has left meanwhile
  }
  attach_to(tunnel);
  send_connect();
}

void OutboundFlow::on_no_tunnel(uint16_t reason, const std::string& detail) {
  if (done_) {
    return;
  }
  worker_.log(
      LogLevel::warn, pod_.index(),
      "no tunnel to " + endpoint_.destination.text() + " for " + ends_.destination.text() + ": " + detail);
  break_off(reason);
}

void OutboundFlow::send_connect() {
  const std::string forwarded = write_forwarded(pod_.outward(ends_.source), endpoint_.forwarded_host);
  const Traceparent traceparent = worker_.make_traceparent();
  std::array<h2::Session::Header, 6> headers{{
      {.name = ":method", .value = "CONNECT"},
      {.name = ":authority", .value = endpoint_.authority},
      {.name = kForwardedHeader, .value = forwarded, .unique = true},
      {.name = kTraceparentHeader, .value = traceparent.text(), .unique = true},
      {.name = kHadalHeader, .value = kHadalVersion},
      {.name = kBaggageHeader, .value = endpoint_.baggage},
  }};
  const size_t count = headers.size() - (endpoint_.baggage.empty() ? 1 : 0);
  if (!tunnel_->session().open_stream(*this, std::span(headers).first(count))) {
    // A tunnel that has used up its stream ids would fail everybody from now on.
    tunnel_->announce_shutdown();
    on_lost_before_relay(HADAL_REASON_H2_PROTOCOL);
    return;
  }
  // Another agent of ours keeps what arrives ahead of its answer, bounded by the window, and throws it away
  // when it refuses. That spares a round trip between the nodes for all but the first connection of a tunnel.
  if (tunnel_->peer_is_hadal()) {
    start_early_payload();
  }
}

bool OutboundFlow::on_header(std::string_view name, std::string_view value) {
  if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), status_);
  } else if (name == kHadalHeader) {
    tunnel_->set_peer_is_hadal();
  }
  return true;
}

void OutboundFlow::on_headers() {
  if (status_ == 200) {
    start_relay();
    if (!done_) {
      relay_received();
    }
  } else if (status_ >= 200) {
    worker_.log(LogLevel::debug, pod_.index(),
                endpoint_.destination.text() + " answered the CONNECT to " + endpoint_.authority +
                    " with status " + std::to_string(status_));
    break_off(HADAL_REASON_TUNNEL_REFUSED);
  } else if (stream_closed()) {
    on_lost_before_relay(HADAL_REASON_TUNNEL_REFUSED);
  }
}

// As long as nothing of the application's has been sent, a second try on another tunnel is safe: a pooled one
// may have died unnoticed, or said GOAWAY while our CONNECT was on its way.
void OutboundFlow::on_lost_before_relay(uint16_t reason) {
  if (retried_ || done_ || payload_sent_) {
    break_off(reason);
    return;
  }
  retried_ = true;
  leave_stream(NGHTTP2_CANCEL);
  forget_stream();
  seek_tunnel();
}

void OutboundFlow::on_socket_event(uint32_t events) {
  // The application has given up before its connection stood. Bytes and a FIN wait for the relay.
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    break_off(HADAL_REASON_RESET_BY_SOURCE);
  }
}

void OutboundFlow::on_setup_deadline() { break_off(HADAL_REASON_CONNECT_TIMEOUT); }

uint16_t OutboundFlow::socket_reset_reason() const { return HADAL_REASON_RESET_BY_SOURCE; }
uint16_t OutboundFlow::stream_reset_reason() const { return HADAL_REASON_RESET_BY_DESTINATION; }

}  // namespace hadal::tunnel
