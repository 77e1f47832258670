// A tunnel that stands: is its peer there, has it anything to do, how is it; and its end.
#include <cstring>

#include "bpf/shared/reasons.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/stream_flow.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

constexpr int64_t kPathFreshNs = 20'000'000;
/// More than a round trip to any peer.
constexpr int64_t kShutdownGraceNs = 500'000'000;

}  // namespace

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

void Tunnel::check(const std::shared_ptr<const tls::RevocationList>& revocations) {
  if (state_ == State::dead || channel_ == nullptr) {
    return;
  }
  if (const auto revoked = channel_->set_revocations(revocations)) {
    fail(HADAL_REASON_CERT_REVOKED, *revoked);
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
