// A tunnel that we opened, for the streams of one pod towards one peer.
#pragma once

#include <memory>

#include "native/tls/credentials.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/tunnel.h"
#include "native/tunnel/tunnel_pool.h"

namespace hadal::tunnel {

class ClientTunnel final : public Tunnel {
 public:
  /// Starts to connect. Null when not even that was possible; `reason` and `detail` say why.
  static ClientTunnel* open(Worker& worker, Pod& pod, TunnelPool& pool, PoolEntry& entry, uint16_t& reason,
                            std::string& detail);

  /// New streams may use it.
  [[nodiscard]] bool usable() const { return state() == State::ready && !leaving() && !peer_has_expired(); }
  [[nodiscard]] size_t free_streams() const;
  /// As busy as one connection should get while others may be opened.
  [[nodiscard]] bool busy() const;
  [[nodiscard]] size_t streams() const { return session().open_streams(); }
  [[nodiscard]] bool opening() const { return state() == State::connecting || state() == State::handshaking; }
  void begin() { start(State::connecting); }

  void maintain(int64_t now_ns) override;

 private:
  ClientTunnel(Worker& worker, Pod& pod, TunnelPool& pool, PoolEntry& entry, ListedSocket dialled);

  /// A server opens no streams towards a client.
  h2::Stream* on_new_stream() override { return nullptr; }
  void on_established() override;
  void on_stream_left() override;
  void on_goaway() override { announce_shutdown(); }
  void on_dead(uint16_t reason, const std::string& detail) override;

  TunnelPool& pool_;
  PoolEntry& entry_;
  OwnSocket listed_;
  int64_t idle_since_ns_ = 0;
};

}  // namespace hadal::tunnel
