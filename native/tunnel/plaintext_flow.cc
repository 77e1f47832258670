#include "native/tunnel/plaintext_flow.h"

#include <cerrno>

#include "bpf/shared/reasons.h"
#include "native/tunnel/connect_reason.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/proxy_protocol.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
void PlaintextFlow::start_outbound(Worker& worker, Pod& pod, UniqueFd fd, const FlowEnds& ends,
                                   const OutboundEndpoint& endpoint, RowFlows& flows) {
  auto* flow = new PlaintextFlow(worker, pod, FlowDirection::outbound);
  flows.push_back(*flow);
  FlowEnds all = ends;
  all.endpoint = endpoint.destination;
  ListedSocket dialled = pod.dial(endpoint.destination);
  flow->listed_ = std::move(dialled.listed);
  flow->start(std::move(fd), std::move(dialled.fd), all, endpoint.edge);
}

void PlaintextFlow::start_inbound(Worker& worker, Pod& pod, ListedSocket source, const FlowEnds& ends,
                                  const InboundRow& row, RowFlows& flows) {
  auto* flow = new PlaintextFlow(worker, pod, FlowDirection::inbound);
  flows.push_back(*flow);
  flow->listed_ = std::move(source.listed);
  FlowEnds all = ends;
  all.endpoint = row.upstream;
  if (row.proxy_destination) {
    flow->target_.socket.prepend(write_proxy_header(ends.source, *row.proxy_destination, {}));
  }
  // The client's port is taken: the captured connection itself holds it, and the application's address would
  // find that connection instead of the listener.
  const net::SocketAddress client{.address = ends.source.address, .port = 0};
  flow->start(std::move(source.fd), pod.deliver(client, row.upstream, row.loopback), all, row.edge);
}

PlaintextFlow::PlaintextFlow(Worker& worker, Pod& pod, FlowDirection direction)
    : Flow(worker, pod, direction, FlowPath::plaintext),
      source_(*this, HADAL_REASON_RESET_BY_SOURCE),
      target_(*this, HADAL_REASON_RESET_BY_DESTINATION),
      direction_(direction) {}

// Owned by itself until close_flow(), which hands it to the loop for disposal.
void PlaintextFlow::start(UniqueFd source, UniqueFd target, const FlowEnds& ends, uint32_t edge) {
  int progress = target.valid() ? EALREADY : errno;
  ends_ = ends;
  use_edge(edge);
  source_.socket.open(std::move(source));
  if (target.valid() && direction_ == FlowDirection::inbound) {
    progress = Pod::connect_progress(target.get());
  }
  if (progress != 0 && progress != EALREADY) {
    break_off(connect_reason(progress));
    return;
  }
  target_.socket.open(std::move(target));
  target_.socket.hold_writes(true);
  if (!worker_.loop().watch_socket(source_.socket.fd(), source_) ||
      !worker_.loop().watch_socket(target_.socket.fd(), target_)) {
    break_off(HADAL_REASON_OUT_OF_RESOURCES);
  } else if (progress == 0) {
    begin_relay();
  } else {
    worker_.connect_deadlines().arm(*this, worker_.loop().now_ns());
  }
}

void PlaintextFlow::on_side_ready(Side& side, uint32_t events) {
  if (done_) {
    return;
  }
  side.socket.input().on_ready(events);
  if (!relaying_ && &side == &target_) {
    finish_connect();
    return;
  }
  if (side.socket.input().broken()) {
    break_off(side.reset_reason);
    return;
  }
  if (!relaying_) {
    if ((events & EPOLLHUP) != 0) {
      break_off(HADAL_REASON_RESET_BY_SOURCE);
    }
    return;
  }
  if ((events & EPOLLOUT) != 0 && !write_kept(side)) {
    return;
  }
  relay();
}

void PlaintextFlow::finish_connect() {
  const int error = net::pending_error(target_.socket.fd());
  if (error != 0) {
    break_off(connect_reason(error));
    return;
  }
  begin_relay();
}

void PlaintextFlow::begin_relay() {
  relaying_ = true;
  disarm();
  count_opened();
  target_.socket.hold_writes(false);
  if (write_kept(target_)) {
    relay();
  }
}

void PlaintextFlow::on_resume() {
  if (!done_) {
    relay();
  }
}

void PlaintextFlow::relay() {
  const bool more_forth = pump(source_, target_);
  const bool more_back = !done_ && pump(target_, source_);
  if (done_) {
    return;
  }
  if (source_.ended && target_.ended && source_.socket.writes_ended() && target_.socket.writes_ended()) {
    count_ended(HADAL_REASON_NONE);
    close_flow();
  } else if (more_forth || more_back) {
    worker_.loop().resume_later(*this);
  }
}

bool PlaintextFlow::pump(Side& from, Side& to) {
  if (to.socket.kept_bytes() > 0 || from.ended || !from.socket.input().readable()) {
    return false;
  }
  const std::span<uint8_t> buffer = worker_.plain_buffer();
  const net::SocketInput::Outcome outcome =
      from.socket.input().read(from.socket.fd(), buffer.data(), buffer.size());
  if (outcome.status == net::SocketInput::Status::failed) {
    break_off(from.reset_reason);
    return false;
  }
  if (outcome.status == net::SocketInput::Status::ended) {
    from.ended = true;
    to.socket.end_writes();
    return false;
  }
  if (outcome.bytes == 0) {
    return false;
  }
  iovec part{.iov_base = buffer.data(), .iov_len = outcome.bytes};
  size_t written = 0;
  if (to.socket.write({&part, 1}, outcome.bytes, written) == AppSocket::Write::failed) {
    break_off(to.reset_reason);
    return false;
  }
  count(to, written);
  return to.socket.kept_bytes() == 0 && from.socket.input().readable();
}

bool PlaintextFlow::write_kept(Side& to) {
  size_t written = 0;
  if (to.socket.write_kept(written) == AppSocket::Write::failed) {
    break_off(to.reset_reason);
    return false;
  }
  count(to, written);
  if ((&to == &target_ ? source_ : target_).ended) {
    to.socket.end_writes();
  }
  return true;
}

void PlaintextFlow::count(const Side& to, size_t bytes) {
  if (&to == &target_) {
    add_sent(bytes);
  } else {
    add_received(bytes);
  }
}

void PlaintextFlow::on_deadline() { break_off(HADAL_REASON_CONNECT_TIMEOUT); }

void PlaintextFlow::break_off(uint16_t reason) {
  if (done_) {
    return;
  }
  count_ended(reason);
  source_.socket.abort();
  target_.socket.abort();
  close_flow();
}

void PlaintextFlow::close_flow() {
  done_ = true;
  disarm();
  static_cast<net::Resumable&>(*this).unlink();
  source_.socket.close();
  target_.socket.close();
  worker_.loop().dispose(std::unique_ptr<net::Disposable>(this));
}

bool PlaintextFlow::measure_path(net::PathQuality& quality) {
  // The socket that leaves the pod; the other one ends here, over lo.
  const Side& outer = direction_ == FlowDirection::outbound ? target_ : source_;
  if (!outer.socket.valid()) {
    return false;
  }
  quality = net::path_quality(outer.socket.fd());
  return true;
}

}  // namespace hadal::tunnel
