#include "native/tunnel/server_tunnel.h"

#include "bpf/shared/reasons.h"
#include "native/tls/clear_channel.h"
#include "native/tls/tls_channel.h"
#include "native/tunnel/inbound_flow.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

void ServerTunnel::accept(Worker& worker, Pod& pod, UniqueFd fd, const net::SocketAddress& peer) {
  if (!pod.admits_tunnel()) {
    worker.edges().count_failure(0, HADAL_REASON_QUOTA);
    net::reset_on_close(fd.get());
    return;
  }
  const auto credentials = worker.credentials(pod.identity());
  if (credentials == nullptr && !worker.settings().unsafe_plaintext_tunnels) {
    worker.edges().count_failure(0, HADAL_REASON_IDENTITY_UNAVAILABLE);
    worker.log(LogLevel::warn, pod.index(),
               "refused a tunnel from " + peer.text() + ": no certificate for " + pod.identity());
    net::reset_on_close(fd.get());
    return;
  }
  // Owned by itself until fail(), which hands it to the loop for disposal.
  auto* tunnel = new ServerTunnel(worker, pod, std::move(fd), peer);
  if (worker.settings().unsafe_plaintext_tunnels) {
    // Nobody proves an identity without TLS; any of the mesh will do for what this switch is there to show.
    tunnel->set_channel(std::make_unique<tls::ClearChannel>(tunnel->wire(), pod.identity()));
  } else {
    tunnel->set_channel(tls::TlsChannel::server(tunnel->wire(), credentials));
  }
  worker.count_tunnel_opened();
  pod.enter_handshake();
  tunnel->start(State::handshaking);
}

h2::Stream* ServerTunnel::on_new_stream() {
  if (peer_has_expired() || !pod_.admits_connection()) {
    return nullptr;
  }
  return InboundFlow::begin(worker_, pod_, *this);
}

void ServerTunnel::on_established() { leave_handshake(); }

void ServerTunnel::leave_handshake() {
  if (std::exchange(shaking_hands_, false)) {
    pod_.leave_handshake();
  }
}

void ServerTunnel::on_dead(uint16_t reason, const std::string& detail) {
  // No connection of the peer's tells of this one.
  if (shaking_hands_ && reason != HADAL_REASON_NONE) {
    worker_.edges().count_failure(0, reason);
  }
  leave_handshake();
  if (reason != HADAL_REASON_NONE) {
    worker_.log(LogLevel::info, pod_.index(), "tunnel from " + peer().text() + " ended: " + detail);
  }
}

}  // namespace hadal::tunnel
