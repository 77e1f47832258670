#include "native/tunnel/flow.h"

#include <cstring>

#include "bpf/shared/reasons.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

void put_address(uint8_t* into, const net::IpAddress& address) {
  std::memcpy(into, address.bytes.data(), address.bytes.size());
}

}  // namespace

Flow::Flow(Worker& worker, Pod& pod, FlowDirection direction, FlowPath path)
    : worker_(worker), pod_(pod), id_(worker.next_flow_id()), direction_(direction), path_(path) {
  ends_.opened_ns = worker.loop().now_ns();
  pod_.enter(*this);
}

Flow::~Flow() {
  if (edge_ != nullptr) {
    worker_.edges().release(*edge_);
  }
  pod_.leave(*this);
}

void Flow::use_edge(uint32_t edge) {
  if (edge_ != nullptr) {
    worker_.edges().release(*edge_);
  }
  edge_ = &worker_.edges().use(edge);
}

void Flow::count_opened() {
  opened_ = true;
  connect_us_ = static_cast<uint32_t>((worker_.loop().now_ns() - ends_.opened_ns) / 1000);
  if (edge_ != nullptr) {
    edge_->opened.add(1);
  }
  remember_retransmits();
}

void Flow::count_ended(uint16_t reason) {
  if (ended_) {
    return;
  }
  ended_ = true;
  reason_ = reason;
  net::ListHook<RowFlowTag>::unlink();
  if (edge_ == nullptr) {
    use_edge(0);
  }
  // What was open and ended early is closed, not failed; its reason is counted, and stands in the flow
  // record.
  if (opened_) {
    edge_->closed.add(1);
    if (reason != HADAL_REASON_NONE) {
      worker_.count_early_end(reason);
    }
  } else {
    edge_->failed.add(1);
    worker_.edges().count_failure(edge_->edge, reason);
    if (ends_.asked) {
      pod_.note_failed_answer(direction_, ends_.source.address);
    }
  }
  worker_.report(record(opened_ ? FlowKind::closed : FlowKind::refused));
}

void Flow::add_sent(size_t bytes) {
  bytes_sent_ += bytes;
  edge_->bytes_sent.add(bytes);
}

void Flow::add_received(size_t bytes) {
  bytes_received_ += bytes;
  edge_->bytes_received.add(bytes);
}

void Flow::remember_retransmits() {
  net::PathQuality quality;
  if (measure_path(quality)) {
    retransmits_before_ = quality.retransmits;
  }
}

FlowRecord Flow::record(FlowKind kind) {
  FlowRecord out{};
  const int64_t now_ns = worker_.loop().now_ns();
  out.flow_id = id_;
  out.opened_unix_us = worker_.unix_us(ends_.opened_ns);
  out.duration_us = static_cast<uint64_t>(now_ns - ends_.opened_ns) / 1000;
  out.bytes_sent = bytes_sent_;
  out.bytes_received = bytes_received_;
  put_address(out.source_address, ends_.source.address);
  put_address(out.destination_address, ends_.destination.address);
  put_address(out.endpoint_address, ends_.endpoint.address);
  out.pod_index = pod_.index();
  out.edge = edge_ != nullptr ? edge_->edge : 0;
  out.connect_us = connect_us_;
  out.source_port = ends_.source.port;
  out.destination_port = ends_.destination.port;
  out.endpoint_port = ends_.endpoint.port;
  out.reason = reason_;
  out.kind = kind;
  out.direction = direction_;
  out.path = path_;
  net::PathQuality quality;
  if (measure_path(quality)) {
    out.rtt_us = quality.rtt_us;
    out.retransmits = quality.retransmits - retransmits_before_;
  }
  return out;
}

}  // namespace hadal::tunnel
