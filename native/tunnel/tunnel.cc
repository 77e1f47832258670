#include "native/tunnel/tunnel.h"

#include <cstring>

#include "bpf/shared/reasons.h"
#include "native/tunnel/connect_reason.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/stream_flow.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

constexpr int64_t kPathFreshNs = 20'000'000;
/// More than a round trip to any peer.
constexpr int64_t kShutdownGraceNs = 500'000'000;
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

bool Tunnel::peer_has_expired() const { return worker_.loop().now_ns() > expires_ns_; }

void Tunnel::announce_shutdown() {
  if (!std::exchange(leaving_, true)) {
    left_ns_ = worker_.loop().now_ns();
    if (state_ == State::ready) {
      session_->announce_shutdown();
    }
  }
}

// Its last stream has ended, and what the peer sent before it heard of the shutdown has come in.
void Tunnel::end_when_left(int64_t now_ns) {
  if (!leaving_ || session_->open_streams() > 0 || now_ns - left_ns_ < kShutdownGraceNs) {
    return;
  }
  session_->finish_shutdown();
  flush();
  fail(HADAL_REASON_NONE, "");
}

void Tunnel::on_deadline() {
  if (state_ == State::ready) {
    on_output(h2::Urgency::now);
    return;
  }
  const bool connecting = state_ == State::connecting;
  fail(connecting ? HADAL_REASON_CONNECT_TIMEOUT : HADAL_REASON_TLS_HANDSHAKE,
       connecting ? "no answer" : "the TLS handshake did not finish in time");
}

void Tunnel::maintain(int64_t now_ns) {
  if (state_ != State::ready) {
    return;
  }
  const int64_t interval_ns = std::chrono::nanoseconds(worker_.settings().ping_interval).count();
  const int64_t timeout_ns = std::chrono::nanoseconds(worker_.settings().ping_timeout).count();
  if (ping_sent_ns_ != 0 && heard_ns_ > ping_sent_ns_) {
    ping_sent_ns_ = 0;
  }
  if (ping_sent_ns_ != 0 && now_ns - ping_sent_ns_ > timeout_ns) {
    fail(HADAL_REASON_PING_TIMEOUT, "the peer " + peer_.text() + " did not answer a PING");
  } else if (ping_sent_ns_ == 0 && interval_ns > 0 && now_ns - heard_ns_ >= interval_ns) {
    ping_sent_ns_ = now_ns;
    session_->ping();
  }
  if (state_ == State::ready && peer_has_expired()) {
    announce_shutdown();
  }
  if (state_ == State::ready) {
    end_when_left(now_ns);
  }
}

void Tunnel::fail(uint16_t reason, const std::string& detail) {
  if (state_ == State::dead) {
    return;
  }
  const bool was_ready = state_ == State::ready;
  state_ = State::dead;
  disarm();
  static_cast<net::ListHook<DirtyTag>&>(*this).unlink();
  static_cast<net::Resumable&>(*this).unlink();
  if (was_ready && !blocked_) {
    channel_->end();
    (void)wire_.output.send(wire_.fd);
  }
  worker_.loop().unwatch(wire_.fd);
  while (StreamFlow* flow = streams_.pop_front()) {
    flow->on_tunnel_lost(reason);
  }
  on_dead(reason, detail);
  fd_.reset();
  worker_.loop().dispose(std::unique_ptr<net::Disposable>(this));
}

TunnelDescription Tunnel::describe() {
  const tls::Channel::Agreement agreement = channel_->agreement();
  return {.outbound = role_ == h2::Role::client,
          .pod_index = pod_.index(),
          .local = net::local_address(wire_.fd).value_or(net::SocketAddress{}),
          .remote = peer_,
          .peer_identity = peer_identity(),
          .tls_version = agreement.version,
          .cipher = agreement.cipher,
          .key_exchange_group = agreement.group,
          .streams = session_->open_streams(),
          .streams_total = session_->streams_total(),
          .age_ms = (worker_.loop().now_ns() - created_ns_) / 1'000'000,
          .rtt_us = path_quality().rtt_us};
}

const net::PathQuality& Tunnel::path_quality() {
  const int64_t now_ns = worker_.loop().now_ns();
  if (path_measured_ns_ == 0 || now_ns - path_measured_ns_ > kPathFreshNs) {
    path_ = net::path_quality(wire_.fd);
    path_measured_ns_ = now_ns;
  }
  return path_;
}

}  // namespace hadal::tunnel
