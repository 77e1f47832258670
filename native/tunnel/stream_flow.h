// A connection whose bytes travel between a local socket and one stream of a tunnel. Both directions, both
// half-closes, and aborts that stay aborts; how it came to be is the subclasses' business.
#pragma once

#include <cstdint>

#include "native/h2/stream.h"
#include "native/net/deadline_queue.h"
#include "native/net/event_loop.h"
#include "native/tunnel/app_socket.h"
#include "native/tunnel/flow.h"

namespace hadal::tunnel {

class Tunnel;

struct TunnelStreamTag;

class StreamFlow : public Flow,
                   public h2::Stream,
                   public net::EventHandler,
                   public net::Resumable,
                   public net::Timed,
                   public net::ListHook<TunnelStreamTag> {
 public:
  void abort(uint16_t reason) final;
  /// The tunnel under it is gone.
  void on_tunnel_lost(uint16_t reason);

  void on_ready(uint32_t events) final;
  void on_resume() final;
  void on_deadline() final;

 protected:
  StreamFlow(Worker& worker, Pod& pod, FlowDirection direction)
      : Flow(worker, pod, direction, FlowPath::tunnel) {}

  /// Takes the local socket and watches it. False when that failed.
  [[nodiscard]] bool adopt(UniqueFd fd);
  void attach_to(Tunnel& tunnel);

  /// Payload may go out although the far side has not answered yet.
  void start_early_payload();
  /// Both sides stand: bytes may flow.
  void start_relay();
  void relay_received();
  /// Tunnel to application: writes what arrived, or keeps it while the socket does not stand yet.
  void deliver();

  /// Payload that the application will not get; the peer has its credit back.
  void drop_kept();

  /// Graceful: everything was delivered in both directions.
  void finish();
  /// Abortive: RST to the socket, RST_STREAM to the stream.
  void break_off(uint16_t reason);
  /// RST_STREAM if the stream is still open, and no more of it.
  void leave_stream(uint32_t code);

  /// The time that the current step of the setup may take is over.
  virtual void on_setup_deadline() = 0;
  /// The local socket became ready before the relay started.
  virtual void on_socket_event(uint32_t events) = 0;
  virtual void on_headers() = 0;
  virtual void on_lost_before_relay(uint16_t reason) { break_off(reason); }

  /// Bytes read from, or written to, the local socket.
  virtual void count_from_socket(size_t bytes) = 0;
  virtual void count_to_socket(size_t bytes) = 0;
  [[nodiscard]] virtual uint16_t socket_reset_reason() const = 0;
  [[nodiscard]] virtual uint16_t stream_reset_reason() const = 0;

  bool measure_path(net::PathQuality& quality) final;
  void on_stream_activity() final;

  Tunnel* tunnel_ = nullptr;
  AppSocket socket_;
  bool relaying_ = false;
  bool done_ = false;
  /// Something of the application's has been sent: no second try on another tunnel.
  bool payload_sent_ = false;

 private:
  void lend(size_t bytes);
  /// Credit for payload that was kept and has been written, or is dropped.
  void consume_kept(size_t bytes);
  void read_socket();
  [[nodiscard]] bool read_once();
  void write_kept();
  void note_kept();
  void settle();
  void on_stream_reset();
  [[nodiscard]] bool spares_reset() const;
  void linger();
  void dispose();

  bool may_send_ = false;
  bool socket_ended_ = false;
  bool soft_reset_ = false;
  /// Its application is gone; the stream ends by itself, or is reset after a while.
  bool lingering_ = false;
  uint8_t slots_ = 1;
  /// What the pod has been told of what we keep.
  uint32_t noted_kept_ = 0;
  /// Of the payload that is kept: the tunnel's window has it back already.
  uint32_t lent_bytes_ = 0;
};

}  // namespace hadal::tunnel
