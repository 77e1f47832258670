// How a flow ends: in peace, abruptly, or abruptly here while its stream ends in peace; and how it leaves its
// tunnel.
#include "bpf/shared/reasons.h"
#include "native/tunnel/stream_flow.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

void StreamFlow::finish() {
  if (done_) {
    return;
  }
  done_ = true;
  count_ended(HADAL_REASON_NONE);
  leave_stream(NGHTTP2_NO_ERROR);
  socket_.close();
  dispose();
}

void StreamFlow::break_off(uint16_t reason) {
  if (done_) {
    return;
  }
  done_ = true;
  count_ended(reason);
  socket_.abort();
  if (spares_reset()) {
    linger();
    return;
  }
  leave_stream(NGHTTP2_CANCEL);
  dispose();
}

// Other proxies count resets: the Rust ones those of streams that they have not looked at yet, Envoy all
// within the first second of a stream, and at some number they end the tunnel for everybody on it. Towards
// them a connection that has carried payload ends like any other, as long as they follow.
bool StreamFlow::spares_reset() const {
  return payload_sent_ && tunnel_ != nullptr && tunnel_->role() == h2::Role::client &&
         tunnel_->state() == Tunnel::State::ready && !tunnel_->peer_is_hadal() && attached() &&
         !stream_closed();
}

void StreamFlow::linger() {
  lingering_ = true;
  drop_kept();
  session()->end(*this);
  worker_.handshake_deadlines().arm(*this, worker_.loop().now_ns());
}

void StreamFlow::on_deadline() {
  if (!lingering_) {
    on_setup_deadline();
    return;
  }
  leave_stream(NGHTTP2_CANCEL);
  dispose();
}

void StreamFlow::drop_kept() {
  consume_kept(socket_.kept_bytes());
  socket_.drop_kept();
  note_kept();
}

void StreamFlow::dispose() { worker_.loop().dispose(std::unique_ptr<net::Disposable>(this)); }

void StreamFlow::leave_stream(uint32_t code) {
  disarm();
  static_cast<net::ListHook<TunnelStreamTag>&>(*this).unlink();
  static_cast<net::Resumable&>(*this).unlink();
  lingering_ = false;
  drop_kept();
  if (session() != nullptr) {
    session()->detach(*this, code);
  }
  if (Tunnel* left = std::exchange(tunnel_, nullptr); left != nullptr) {
    worker_.streams_open().subtract(1);
    if (left->state() == Tunnel::State::ready) {
      left->on_stream_left();
    }
  }
}

void StreamFlow::abort(uint16_t reason) { break_off(reason); }

void StreamFlow::on_tunnel_lost(uint16_t reason) {
  if (lingering_) {
    leave_stream(NGHTTP2_CANCEL);
    dispose();
  } else if (relaying_) {
    break_off(reason);
  } else {
    on_lost_before_relay(reason);
  }
}

}  // namespace hadal::tunnel
