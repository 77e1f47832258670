// One connection between two nodes: a TCP socket, TLS over it, HTTP/2 inside, and the streams of many
// applications.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "native/base/unique_fd.h"
#include "native/h2/session.h"
#include "native/net/event_loop.h"
#include "native/net/socket.h"
#include "native/tls/channel.h"
#include "native/tunnel/description.h"

namespace hadal::tunnel {

class Pod;
class StreamFlow;
class Worker;

struct DirtyTag;
struct PodTunnelTag;
struct TunnelStreamTag;

class Tunnel : public net::Disposable,
               public net::EventHandler,
               public net::Resumable,
               public net::Timed,
               public h2::SessionOwner,
               public net::ListHook<DirtyTag>,
               public net::ListHook<PodTunnelTag> {
 public:
  enum class State : uint8_t { connecting, handshaking, ready, dead };

  ~Tunnel() override;

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] h2::Role role() const { return role_; }
  [[nodiscard]] h2::Session& session() const { return *session_; }
  [[nodiscard]] const net::SocketAddress& peer() const { return peer_; }
  [[nodiscard]] const std::string& peer_identity() const { return channel_->peer().identity; }
  [[nodiscard]] const tls::Channel& channel() const { return *channel_; }
  [[nodiscard]] int fd() const { return wire_.fd; }
  [[nodiscard]] Pod& pod() { return pod_; }
  [[nodiscard]] int64_t created_ns() const { return created_ns_; }

  /// The other end is one of our own agents: it keeps aborts apart from ends.
  [[nodiscard]] bool peer_is_hadal() const { return peer_is_hadal_; }
  void set_peer_is_hadal() { peer_is_hadal_ = true; }

  /// How much payload a flow may read from its application now, for this stream.
  [[nodiscard]] size_t room(const h2::Stream& stream) const;
  /// Another turn for `waiter` once there is room again.
  void wait_for_room(net::Resumable& waiter) { room_waiters_.push_back(waiter); }
  void add_stream(StreamFlow& flow);
  virtual void on_stream_left() {}

  /// At the end of a turn: frames to records, records to the socket.
  void flush();
  /// PING when silent, release when idle. Once a second.
  virtual void maintain(int64_t now_ns);
  /// No new streams; it ends soon after its last one.
  void announce_shutdown();
  /// Ends it if its peer is revoked.
  void check(const std::shared_ptr<const tls::RevocationList>& revocations);
  /// Ends it at once; every stream on it fails with `reason`.
  void fail(uint16_t reason, const std::string& detail);

  [[nodiscard]] const net::PathQuality& path_quality();
  [[nodiscard]] TunnelDescription describe();

  void on_ready(uint32_t events) final;
  void on_resume() final;
  void on_deadline() final;

 protected:
  Tunnel(Worker& worker, Pod& pod, h2::Role role, UniqueFd fd, const net::SocketAddress& peer);

  void set_channel(std::unique_ptr<tls::Channel> channel);
  void start(State state);
  [[nodiscard]] tls::Wire& wire() { return wire_; }
  /// The socket takes less than we have.
  [[nodiscard]] bool congested() const { return blocked_; }

  /// The session stands.
  virtual void on_established() {}
  /// After fail(): no session any more.
  virtual void on_dead(uint16_t reason, const std::string& detail) = 0;

  void on_goaway() override {}
  void on_ping_answer() final { ping_sent_ns_ = 0; }
  void on_more_room() final { more_room_ = true; }
  void on_output(h2::Urgency urgency) final;

  Worker& worker_;
  Pod& pod_;
  [[nodiscard]] bool leaving() const { return leaving_; }
  /// The peer's certificate has run out since the handshake: what is open goes on, new streams need a new
  /// tunnel.
  [[nodiscard]] bool peer_has_expired() const;

 private:
  void end_when_left(int64_t now_ns);
  void advance();
  void finish_connect();
  void shake_hands();
  void establish();
  void read_turn();
  [[nodiscard]] bool read_batch();
  void resume_room_waiters();
  void send_output();

  h2::Role role_;
  State state_ = State::connecting;
  UniqueFd fd_;
  net::SocketAddress peer_;
  tls::Wire wire_;
  std::unique_ptr<tls::Channel> channel_;
  std::unique_ptr<h2::RecordWriter> writer_;
  std::unique_ptr<h2::Session> session_;
  net::IntrusiveList<net::Resumable, net::AgainTag> room_waiters_;
  net::IntrusiveList<StreamFlow, TunnelStreamTag> streams_;
  net::PathQuality path_;
  int64_t path_measured_ns_ = 0;
  int64_t created_ns_;
  int64_t heard_ns_;
  int64_t ping_sent_ns_ = 0;
  int64_t left_ns_ = 0;
  int64_t expires_ns_ = INT64_MAX;
  bool leaving_ = false;
  bool blocked_ = false;
  bool more_room_ = false;
  bool peer_is_hadal_ = false;
};

}  // namespace hadal::tunnel
