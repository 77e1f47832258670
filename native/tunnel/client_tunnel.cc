#include "native/tunnel/client_tunnel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bpf/shared/reasons.h"
#include "native/tls/clear_channel.h"
#include "native/tls/tls_channel.h"
#include "native/tunnel/connect_reason.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

ClientTunnel* ClientTunnel::open(Worker& worker, Pod& pod, TunnelPool& pool, PoolEntry& entry,
                                 uint16_t& reason, std::string& detail) {
  const auto credentials = worker.credentials(pod.identity());
  if (credentials == nullptr && !worker.settings().unsafe_plaintext_tunnels) {
    reason = HADAL_REASON_IDENTITY_UNAVAILABLE;
    detail = "no certificate for " + pod.identity();
    return nullptr;
  }
  if (!pod.admits_dial()) {
    reason = HADAL_REASON_QUOTA;
    detail = "the pod has as many tunnels as it may have";
    return nullptr;
  }
  ListedSocket dialled = pod.dial(entry.destination);
  if (!dialled.fd.valid()) {
    reason = connect_reason(errno);
    detail = std::strerror(errno);
    return nullptr;
  }
  // Owned by itself until fail(), which hands it to the loop for disposal.
  auto* tunnel = new ClientTunnel(worker, pod, pool, entry, std::move(dialled));
  if (worker.settings().unsafe_plaintext_tunnels) {
    const auto& expected = *entry.peer_identities;
    tunnel->set_channel(
        std::make_unique<tls::ClearChannel>(tunnel->wire(), expected.empty() ? "" : expected.front()));
  } else {
    tunnel->set_channel(tls::TlsChannel::client(tunnel->wire(), credentials, entry.peer_identities));
  }
  return tunnel;
}

ClientTunnel::ClientTunnel(Worker& worker, Pod& pod, TunnelPool& pool, PoolEntry& entry, ListedSocket dialled)
    : Tunnel(worker, pod, h2::Role::client, std::move(dialled.fd), entry.destination),
      pool_(pool),
      entry_(entry),
      listed_(std::move(dialled.listed)) {}

size_t ClientTunnel::free_streams() const {
  if (!usable()) {
    return 0;
  }
  const size_t limit = std::min<size_t>(worker_.settings().pool.max_streams_per_connection,
                                        session().peer_max_concurrent_streams());
  return limit - std::min(limit, session().open_streams());
}

bool ClientTunnel::busy() const {
  return session().open_streams() >= worker_.settings().pool.busy_streams_per_connection || congested();
}

void ClientTunnel::on_established() { pool_.on_capacity(entry_); }

void ClientTunnel::on_dead(uint16_t reason, const std::string& detail) {
  pool_.on_dead(entry_, *this, reason, detail);
}

void ClientTunnel::on_stream_left() {
  if (!entry_.waiters.empty()) {
    pool_.on_capacity(entry_);
  }
}

void ClientTunnel::maintain(int64_t now_ns) {
  Tunnel::maintain(now_ns);
  if (state() != State::ready) {
    return;
  }
  if (session().open_streams() > 0) {
    idle_since_ns_ = 0;
    return;
  }
  if (idle_since_ns_ == 0) {
    idle_since_ns_ = now_ns;
  }
  const int64_t release_ns = std::chrono::nanoseconds(worker_.settings().pool.idle_release).count();
  if (now_ns - idle_since_ns_ > release_ns) {
    announce_shutdown();
  }
}

}  // namespace hadal::tunnel
