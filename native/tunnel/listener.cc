#include "native/tunnel/listener.h"

#include <sys/socket.h>

#include <cerrno>

#include "native/net/socket.h"
#include "native/tunnel/captured_connection.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/server_tunnel.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {
namespace {

/// Then the other pods' listeners get their turn; the queue is still readable, so this one comes back.
constexpr int kAcceptsPerTurn = 32;

}  // namespace

Listener::Listener(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd)
    : worker_(worker), pod_(pod), kind_(kind), fd_(std::move(fd)) {
  if (fd_.valid()) {
    port_ = net::local_address(fd_.get()).value_or(net::SocketAddress{}).port;
    (void)worker_.loop().watch_source(fd_.get(), *this);
  }
}

Listener::~Listener() { close(); }

void Listener::close() {
  if (fd_.valid()) {
    worker_.loop().unwatch(fd_.get());
    fd_.reset();
  }
}

void Listener::on_ready(uint32_t /*events*/) {
  for (int i = 0; i < kAcceptsPerTurn && fd_.valid(); ++i) {
    sockaddr_storage storage{};
    UniqueFd fd = accept_one(storage);
    if (!fd.valid()) {
      return;
    }
    const net::SocketAddress peer = net::SocketAddress::from_sockaddr(storage);
    if (kind_ == ListenerKind::hbone) {
      ServerTunnel::accept(worker_, pod_, std::move(fd), peer);
    } else {
      CapturedConnection::begin(worker_, pod_, kind_, std::move(fd), peer);
    }
  }
}

UniqueFd Listener::accept_one(sockaddr_storage& peer) {
  socklen_t length = sizeof(peer);
  UniqueFd fd(accept4(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.valid() && (errno == EMFILE || errno == ENFILE)) {
    worker_.refuse_without_descriptor(fd_.get());
  }
  return fd;
}

}  // namespace hadal::tunnel
