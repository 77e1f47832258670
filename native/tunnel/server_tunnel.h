// A tunnel that a peer opened to one of our pods.
#pragma once

#include "native/tunnel/tunnel.h"

namespace hadal::tunnel {

class ServerTunnel final : public Tunnel {
 public:
  /// Takes an accepted connection and starts the handshake.
  static void accept(Worker& worker, Pod& pod, UniqueFd fd, const net::SocketAddress& peer);

 private:
  ServerTunnel(Worker& worker, Pod& pod, UniqueFd fd, const net::SocketAddress& peer)
      : Tunnel(worker, pod, h2::Role::server, std::move(fd), peer) {}

  void leave_handshake();

  h2::Stream* on_new_stream() override;
  void on_established() override;
  void on_dead(uint16_t reason, const std::string& detail) override;

  bool shaking_hands_ = true;
};

}  // namespace hadal::tunnel
