#include "native/tunnel/inbound_flow.h"

#include <array>
#include <cerrno>

#include "bpf/shared/reasons.h"
#include "native/tunnel/connect_reason.h"
#include "native/tunnel/forwarded.h"
#include "native/tunnel/hbone_headers.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/proxy_protocol.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

constexpr uint16_t kBadRequest = 400;
constexpr uint16_t kUnavailable = 503;

}  // namespace

InboundFlow* InboundFlow::begin(Worker& worker, Pod& pod, Tunnel& tunnel) {
  // Owns itself from here: it ends in finish() or break_off(), which hand it to the loop for disposal.
  return new InboundFlow(worker, pod, tunnel);
}

InboundFlow::InboundFlow(Worker& worker, Pod& pod, Tunnel& tunnel)
    : StreamFlow(worker, pod, FlowDirection::inbound), request_(std::make_unique<Request>()) {
  attach_to(tunnel);
  ends_.source = tunnel.peer();
  socket_.hold_writes(true);
  worker.handshake_deadlines().arm(*this, worker.loop().now_ns());
}

bool InboundFlow::on_header(std::string_view name, std::string_view value) {
  if (request_ == nullptr) {
    return true;  // trailers
  }
  if (name == ":method") {
    request_->method = value;
  } else if (name == ":authority") {
    request_->authority = value;
  } else if (name == kForwardedHeader) {
    request_->forwarded = value;
  } else if (name == kBaggageHeader) {
    request_->baggage = value;
  } else if (name == kForwardedNetworkHeader) {
    request_->forwarded_network = value;
  } else if (name == kHadalHeader) {
    request_->hadal = true;
  }
  return true;
}

void InboundFlow::on_headers() {
  if (stage_ == Stage::refused) {
    session()->consume(*this, take_received(worker_.parts()));
    if (stream_closed()) {
      break_off(HADAL_REASON_NONE);
    }
    return;
  }
  // We have not ended our side, so whatever the code says and whether or not the peer has: it left.
  if (stream_closed()) {
    break_off(HADAL_REASON_RESET_BY_SOURCE);
    return;
  }
  if (stage_ == Stage::headers && headers_complete_) {
    judge();
  }
  if (done_) {
    return;
  }
  // Payload ahead of our answer: with a row at hand the connection may stand already.
  if (relaying_) {
    relay_received();
  } else if (stage_ == Stage::refused) {
    session()->consume(*this, take_received(worker_.parts()));
  } else {
    deliver();
  }
}

void InboundFlow::judge() {
  const std::unique_ptr<Request> request = std::move(request_);
  if (request->hadal) {
    tunnel_->set_peer_is_hadal();
  }
  if (request->method != "CONNECT") {
    refuse(kBadRequest, HADAL_REASON_BAD_METHOD);
    return;
  }
  const auto authority = Authority::parse(request->authority);
  if (!authority) {
    refuse(kBadRequest, HADAL_REASON_BAD_AUTHORITY);
    return;
  }
  ends_.destination = {authority->address.value_or(net::IpAddress{}), authority->port};
  const auto forwarded = Forwarded::parse(request->forwarded).value_or(Forwarded{});
  // Only the port is taken from the header, and only for the address that the connection really comes from.
  if (forwarded.source && forwarded.source->address == ends_.source.address) {
    ends_.source.port = forwarded.source->port;
  } else {
    ends_.source.port = 0;
  }
  InboundQuestion question{.key = {.pod_index = pod_.index(),
                                   .channel = InboundChannel::hbone,
                                   .peer_address = tunnel_->peer().address,
                                   .peer_identity = tunnel_->peer_identity(),
                                   .authority = request->authority,
                                   .forwarded_host = forwarded.host},
                           .baggage = request->baggage,
                           .forwarded_network = request->forwarded_network};
  stage_ = Stage::parked;
  disarm();
  if (!pod_.ask_inbound(std::move(question), *this, *this)) {
    refuse(kUnavailable, HADAL_REASON_QUOTA);
  }
}

void InboundFlow::on_inbound_row(const std::shared_ptr<const InboundRow>& row, RowFlows& flows) {
  if (done_) {
    return;  // its peer has left meanwhile
  }
  disarm();
  row_ = row;
  ends_.asked = asked();
  use_edge(row->edge);
  if (row->reason != HADAL_REASON_NONE) {
    refuse(row->status, row->reason);
    return;
  }
  flows.push_back(*this);
  deliver_by(*row);
}

void InboundFlow::deliver_by(const InboundRow& row) {
  ends_.endpoint = row.upstream;
  // The connection would come back to us as one that the pod has made.
  if (pod_.is_own_listener(row.upstream.port)) {
    refuse(kUnavailable, HADAL_REASON_SELF_CALL);
    return;
  }
  stage_ = Stage::connecting;
  UniqueFd fd = pod_.deliver(ends_.source, row.upstream, row.loopback);
  const int progress = fd.valid() ? Pod::connect_progress(fd.get()) : errno;
  if (progress != 0 && progress != EALREADY) {
    refuse(kUnavailable, connect_reason(progress));
    return;
  }
  if (!adopt(std::move(fd))) {
    refuse(kUnavailable, HADAL_REASON_OUT_OF_RESOURCES);
    return;
  }
  if (row.proxy_destination) {
    socket_.prepend(write_proxy_header(ends_.source, *row.proxy_destination, tunnel_->peer_identity()));
  }
  if (progress == 0) {
    answer();
  } else {
    worker_.connect_deadlines().arm(*this, worker_.loop().now_ns());
  }
}

void InboundFlow::on_socket_event(uint32_t events) {
  if (stage_ != Stage::connecting || (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
    return;
  }
  const int error = net::pending_error(socket_.fd());
  if (error == 0) {
    answer();
    return;
  }
  refuse(kUnavailable, connect_reason(error));
}

void InboundFlow::answer() {
  stage_ = Stage::relaying;
  const std::array<h2::Session::Header, 3> headers{{
      {.name = ":status", .value = "200"},
      {.name = kHadalHeader, .value = kHadalVersion},
      {.name = kBaggageHeader, .value = row_->baggage},
  }};
  const size_t count = headers.size() - (row_->baggage.empty() ? 1 : 0);
  // Our own agents do not wait for it, so it may travel with the application's first bytes.
  const h2::Urgency urgency = tunnel_->peer_is_hadal() ? h2::Urgency::soon : h2::Urgency::now;
  if (!session()->respond(*this, std::span(headers).first(count), false, urgency)) {
    break_off(HADAL_REASON_H2_PROTOCOL);
    return;
  }
  start_relay();
}

void InboundFlow::refuse(uint16_t status, uint16_t reason) {
  stage_ = Stage::refused;
  count_ended(reason);
  const std::string text = std::to_string(status);
  const std::array<h2::Session::Header, 2> headers{{
      {.name = ":status", .value = text},
      {.name = kHadalHeader, .value = kHadalVersion},
  }};
  drop_kept();
  socket_.close();
  if (!session()->respond(*this, headers, true, h2::Urgency::now)) {
    break_off(reason);
    return;
  }
  // Most peers leave by themselves once they read the status; who stays is reset.
  worker_.handshake_deadlines().arm(*this, worker_.loop().now_ns());
}

void InboundFlow::on_setup_deadline() {
  switch (stage_) {
    case Stage::headers:
      break_off(HADAL_REASON_H2_PROTOCOL);
      break;
    case Stage::parked:
      unpark();
      pod_.count_question_timeout();
      refuse(kUnavailable, HADAL_REASON_DECISION_TIMEOUT);
      break;
    case Stage::connecting:
      refuse(kUnavailable, HADAL_REASON_CONNECT_TIMEOUT);
      break;
    case Stage::relaying:
    case Stage::refused:
      break_off(HADAL_REASON_NONE);
      break;
  }
}

uint16_t InboundFlow::socket_reset_reason() const { return HADAL_REASON_RESET_BY_DESTINATION; }
uint16_t InboundFlow::stream_reset_reason() const { return HADAL_REASON_RESET_BY_SOURCE; }

}  // namespace hadal::tunnel
