#include "native/tunnel/stream_flow.h"

#include <algorithm>
#include <utility>

#include "bpf/shared/reasons.h"
#include "native/h2/record_writer.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

constexpr uint8_t kMaxSlots = Worker::kSlots;

}  // namespace

bool StreamFlow::adopt(UniqueFd fd) {
  socket_.open(std::move(fd));
  return worker_.loop().watch_socket(socket_.fd(), *this);
}

void StreamFlow::attach_to(Tunnel& tunnel) {
  tunnel_ = &tunnel;
  tunnel.add_stream(*this);
  worker_.streams_open().add(1);
}

void StreamFlow::on_ready(uint32_t events) {
  if (done_) {
    return;
  }
  socket_.input().on_ready(events);
  if (!relaying_) {
    on_socket_event(events);
    if (!done_ && may_send_) {
      read_socket();
    }
    return;
  }
  if (socket_.input().broken()) {
    break_off(socket_reset_reason());
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    write_kept();
  }
  read_socket();
}

void StreamFlow::on_resume() {
  if (!done_ && may_send_) {
    read_socket();
  }
}

void StreamFlow::start_early_payload() {
  may_send_ = true;
  read_socket();
}

void StreamFlow::start_relay() {
  relaying_ = may_send_ = true;
  disarm();
  count_opened();
  socket_.hold_writes(false);
  write_kept();
  read_socket();
}

// Application to tunnel. As much as fits one batch of slots, then others get their turn.
void StreamFlow::read_socket() {
  if (done_ || socket_ended_ || !socket_.input().readable() || stream_closed()) {
    return;
  }
  if (read_once()) {
    worker_.loop().resume_later(*this);
  }
}

// True when there may be more to read.
bool StreamFlow::read_once() {
  const size_t room = tunnel_->room(*this);
  if (room == 0) {
    tunnel_->wait_for_room(*this);
    return false;
  }
  const std::span<uint8_t> slots = worker_.slots();
  std::array<iovec, kMaxSlots> parts;
  size_t wanted = 0;
  int count = 0;
  for (; count < slots_ && wanted < room; ++count) {
    uint8_t* slot = slots.data() + static_cast<size_t>(count) * h2::kRecordBytes;
    const size_t size = std::min(h2::kSlotPayloadBytes, room - wanted);
    parts[static_cast<size_t>(count)] = {.iov_base = slot + h2::kFrameHeaderBytes, .iov_len = size};
    wanted += size;
  }
  const net::SocketInput::Outcome outcome = socket_.input().read(socket_.fd(), parts.data(), count, wanted);
  if (outcome.status == net::SocketInput::Status::failed) {
    break_off(socket_reset_reason());
    return false;
  }
  if (outcome.status == net::SocketInput::Status::ended) {
    socket_ended_ = true;
    tunnel_->session().end(*this);
    settle();
    return false;
  }
  if (outcome.bytes == 0) {
    return false;
  }
  if (!tunnel_->session().send(*this, {.base = slots.data(), .bytes = outcome.bytes})) {
    tunnel_->fail(HADAL_REASON_INTERNAL, "payload was left behind");
    return false;
  }
  payload_sent_ = true;
  count_from_socket(outcome.bytes);
  if (outcome.bytes == wanted && count == slots_) {
    slots_ = std::min<uint8_t>(kMaxSlots, static_cast<uint8_t>(slots_ * 2));
  } else if (outcome.bytes < wanted / 4) {
    slots_ = std::max<uint8_t>(1, slots_ / 2);
  }
  return socket_.input().readable();
}

void StreamFlow::on_stream_activity() {
  if (lingering_) {
    session()->consume(*this, take_received(worker_.parts()));
    if (stream_closed()) {
      leave_stream(NGHTTP2_NO_ERROR);
      dispose();
    }
    return;
  }
  if (done_) {
    return;
  }
  if (!relaying_) {
    on_headers();
    return;
  }
  relay_received();
}

void StreamFlow::relay_received() {
  deliver();
  if (done_) {
    return;
  }
  // Closed without an error, too, as long as we had more to say: a server that has answered in full may tell
  // its client so (RFC 9113, 8.1).
  const bool both_ended = received_end() && socket_ended_;
  if (stream_closed() && (close_code() != NGHTTP2_NO_ERROR || !both_ended)) {
    on_stream_reset();
    return;
  }
  settle();
  if (!done_) {
    read_socket();
  }
}

// Tunnel to application.
void StreamFlow::deliver() {
  std::vector<iovec>& parts = worker_.parts();
  const size_t size = take_received(parts);
  if (size == 0) {
    return;
  }
  if (socket_.writes_ended()) {
    session()->consume(*this, size);
    return;
  }
  size_t written = 0;
  const AppSocket::Write outcome = socket_.write(parts, size, written);
  if (outcome == AppSocket::Write::failed) {
    session()->consume(*this, size);
    break_off(socket_reset_reason());
    return;
  }
  if (written > 0) {
    count_to_socket(written);
    session()->consume(*this, written);
  }
  note_kept();
  if (outcome == AppSocket::Write::kept && pod_.keeps_too_much()) {
    break_off(HADAL_REASON_QUOTA);
    return;
  }
  lend(size - written);
}

// What the application does not take holds back its own stream. A few such connections would use up the
// window of the tunnel, and everybody else in it would stand still: so the tunnel gets that part of the
// credit ahead.
void StreamFlow::lend(size_t bytes) {
  if (bytes > 0 && worker_.lend(bytes)) {
    lent_bytes_ += static_cast<uint32_t>(bytes);
    session()->lend(bytes);
  }
}

void StreamFlow::consume_kept(size_t bytes) {
  const size_t lent = std::min<size_t>(bytes, lent_bytes_);
  lent_bytes_ -= static_cast<uint32_t>(lent);
  worker_.end_loan(lent);
  if (session() != nullptr) {
    session()->consume(*this, bytes, lent);
  }
}

void StreamFlow::note_kept() {
  const size_t now = socket_.kept_bytes();
  pod_.change_kept(std::exchange(noted_kept_, static_cast<uint32_t>(now)), now);
}

// Also with no payload kept: a preface may wait, or an end that came before the socket stood.
void StreamFlow::write_kept() {
  size_t written = 0;
  const AppSocket::Write outcome = socket_.write_kept(written);
  if (written > 0) {
    count_to_socket(written);
    note_kept();
    consume_kept(written);
  }
  if (outcome == AppSocket::Write::failed) {
    break_off(socket_reset_reason());
    return;
  }
  settle();
}

// Half-closes travel once everything before them has; the flow is over when both have.
void StreamFlow::settle() {
  if (soft_reset_) {
    if (socket_.end_writes()) {
      finish();
    }
    return;
  }
  // An answer and its end may arrive together while the application has long ended its own side.
  if (received_end() && (has_received() || !socket_.end_writes())) {
    return;
  }
  if (received_end() && socket_ended_ && stream_closed()) {
    finish();
  }
}

// Between our agents an RST_STREAM is the far application's RST. Others also reset streams that merely ended:
// to them it is an end of file, as long as it carries one of the two codes that they use for it.
void StreamFlow::on_stream_reset() {
  const bool soft = close_code() == NGHTTP2_NO_ERROR || close_code() == NGHTTP2_CANCEL;
  if (!soft || tunnel_->peer_is_hadal()) {
    break_off(stream_reset_reason());
    return;
  }
  soft_reset_ = true;
  settle();
}

bool StreamFlow::measure_path(net::PathQuality& quality) {
  if (tunnel_ == nullptr) {
    return false;
  }
  quality = tunnel_->path_quality();
  return true;
}

}  // namespace hadal::tunnel
