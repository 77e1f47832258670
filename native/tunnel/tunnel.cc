#include "native/tunnel/tunnel.h"

#include <cstring>

#include "bpf/shared/reasons.h"
#include "native/tunnel/connect_reason.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/stream_flow.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

constexpr int64_t kLongestSeconds = int64_t{10} * 365 * 86'400;
/// Batches of decrypted payload per turn before other connections get theirs.
constexpr int kBatchesPerTurn = 4;

}  // namespace

Tunnel::Tunnel(Worker& worker, Pod& pod, h2::Role role, UniqueFd fd, const net::SocketAddress& peer)
    : worker_(worker),
      pod_(pod),
      role_(role),
      fd_(std::move(fd)),
      peer_(peer),
      wire_(worker.output_blocks()),
      created_ns_(worker.loop().now_ns()),
      heard_ns_(created_ns_) {
  wire_.fd = fd_.get();
  worker_.tunnels_open().add(1);
  pod_.enter(*this);
}

Tunnel::~Tunnel() {
  worker_.tunnels_open().subtract(1);
  pod_.leave(*this);
}

void Tunnel::set_channel(std::unique_ptr<tls::Channel> channel) {
  channel_ = std::move(channel);
  if (channel_ != nullptr) {
    (void)channel_->set_revocations(worker_.revocations());
  }
}

void Tunnel::start(State state) {
  state_ = state;
  (state == State::connecting ? worker_.connect_deadlines() : worker_.handshake_deadlines())
      .arm(*this, worker_.loop().now_ns());
  if (channel_ == nullptr || !worker_.loop().watch_socket(wire_.fd, *this)) {
    fail(HADAL_REASON_OUT_OF_RESOURCES, "cannot watch the socket of a tunnel");
  }
}

void Tunnel::on_ready(uint32_t events) {
  if (state_ == State::dead) {
    return;
  }
  wire_.input.on_ready(events);
  if ((events & EPOLLOUT) != 0 && blocked_) {
    blocked_ = false;
    on_output(h2::Urgency::now);
    more_room_ = true;
  }
  advance();
}

void Tunnel::on_resume() { advance(); }

void Tunnel::advance() {
  if (state_ == State::connecting) {
    finish_connect();
  }
  if (state_ == State::handshaking) {
    shake_hands();
  }
  if (state_ == State::ready) {
    read_turn();
  }
}

void Tunnel::finish_connect() {
  const int error = net::pending_error(wire_.fd);
  if (error != 0) {
    fail(connect_reason(error), std::strerror(error));
    return;
  }
  state_ = State::handshaking;
  worker_.handshake_deadlines().arm(*this, worker_.loop().now_ns());
}

void Tunnel::shake_hands() {
  const tls::Channel::Progress progress = channel_->handshake();
  send_output();
  if (progress == tls::Channel::Progress::failed) {
    fail(channel_->failure_reason(), channel_->failure_detail());
  } else if (progress == tls::Channel::Progress::done) {
    establish();
  }
}

void Tunnel::establish() {
  disarm();
  writer_ = std::make_unique<h2::RecordWriter>(*channel_, worker_.gather_blocks());
  session_ = h2::Session::create(role_, worker_.settings().http2,
                                 {.owner = *this,
                                  .writer = *writer_,
                                  .chunks = worker_.chunks(),
                                  .resets = worker_.reset_budget(peer_identity(), peer_.address)});
  if (session_ == nullptr) {
    fail(HADAL_REASON_OUT_OF_RESOURCES, "no memory for an HTTP/2 session");
    return;
  }
  if (const auto seconds = channel_->peer_valid_seconds()) {
    expires_ns_ = heard_ns_ + std::min(*seconds, kLongestSeconds) * 1'000'000'000;
  }
  state_ = State::ready;
  on_output(h2::Urgency::now);
  on_established();
}

void Tunnel::read_turn() {
  for (int i = 0; i < kBatchesPerTurn; ++i) {
    if (!read_batch()) {
      return;
    }
  }
  worker_.loop().resume_later(*this);
}

// One batch: decrypt, parse once, then let every stream write what it got. False when there is nothing more.
bool Tunnel::read_batch() {
  const std::span<uint8_t> plain = worker_.plain_buffer();
  const tls::Channel::ReadOutcome outcome = channel_->read(plain);
  if (outcome.bytes > 0) {
    heard_ns_ = worker_.loop().now_ns();
    const bool understood = session_->receive(plain.first(outcome.bytes), heard_ns_);
    session_->dispatch();
    if (state_ == State::dead) {
      return false;
    }
    if (!understood || session_->flooded()) {
      // What nghttp2 has to say about it (GOAWAY) still leaves.
      flush();
      fail(session_ != nullptr && session_->flooded() ? HADAL_REASON_H2_FLOOD : HADAL_REASON_H2_PROTOCOL,
           session_ != nullptr ? session_->failure_detail() : "");
      return false;
    }
    resume_room_waiters();
  }
  switch (outcome.status) {
    case tls::Channel::ReadStatus::bytes:
      return true;
    case tls::Channel::ReadStatus::drained:
      return false;
    case tls::Channel::ReadStatus::ended:
      fail(HADAL_REASON_TUNNEL_LOST, "the peer closed the tunnel");
      return false;
    case tls::Channel::ReadStatus::failed:
      fail(channel_->failure_reason() == HADAL_REASON_H2_FLOOD ? HADAL_REASON_H2_FLOOD
                                                               : HADAL_REASON_TUNNEL_LOST,
           channel_->failure_detail());
      return false;
  }
  return false;
}

size_t Tunnel::room(const h2::Stream& stream) const {
  if (blocked_ || wire_.output.full()) {
    return 0;
  }
  return std::min(session_->sendable(stream), net::OutputBuffer::kFullBytes - wire_.output.size());
}

void Tunnel::on_output(h2::Urgency urgency) {
  if (static_cast<net::ListHook<DirtyTag>&>(*this).linked()) {
    return;
  }
  if (urgency == h2::Urgency::now) {
    worker_.mark_dirty(*this);
  } else if (!armed()) {
    worker_.soon_deadlines().arm(*this, worker_.loop().now_ns());
  }
}

void Tunnel::flush() {
  if (state_ != State::ready || blocked_) {
    return;
  }
  disarm();
  const bool written = session_->flush();
  writer_->finish();
  if (!written || writer_->failed()) {
    fail(HADAL_REASON_H2_PROTOCOL, session_->failure_detail());
    return;
  }
  send_output();
  if (state_ != State::ready) {
    return;
  }
  session_->dispatch();
  resume_room_waiters();
  if (state_ == State::ready && session_->wants_close() && wire_.output.empty()) {
    // Without a shutdown of ours it was nghttp2 that said GOAWAY, and it does so only to peers that broke the
    // rules.
    const std::string& detail = session_->failure_detail();
    fail(session_->flooded() ? HADAL_REASON_H2_FLOOD
         : leaving_          ? HADAL_REASON_NONE
                             : HADAL_REASON_H2_PROTOCOL,
         detail.empty() ? "the peer broke the HTTP/2 protocol" : detail);
  }
}

void Tunnel::send_output() {
  switch (wire_.output.send(wire_.fd)) {
    case net::OutputBuffer::Sent::all:
      more_room_ |= !room_waiters_.empty();
      break;
    case net::OutputBuffer::Sent::blocked:
      blocked_ = true;
      break;
    case net::OutputBuffer::Sent::failed:
      if (state_ == State::ready) {
        fail(HADAL_REASON_TUNNEL_LOST, std::strerror(errno));
      }
      break;
  }
}

void Tunnel::resume_room_waiters() {
  if (!more_room_ || blocked_) {
    return;
  }
  more_room_ = false;
  // In the next turn, not now: a stream that always fills the room would keep everybody else waiting.
  worker_.loop().resume_all(room_waiters_);
}

void Tunnel::add_stream(StreamFlow& flow) { streams_.push_back(flow); }

}  // namespace hadal::tunnel
