#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "native/dns/server.h"
#include "native/dns/sockets.h"

namespace hadal::dns {
namespace {

constexpr int kAcceptsPerTurn = 16;
constexpr size_t kReadBytes = 16'384;
/// Of one connection; further queries wait unread.
constexpr size_t kMaxPipelined = 32;
/// It asks and does not read.
constexpr size_t kMaxUnreadBytes = 512 * 1024;

}  // namespace

TcpListener::TcpListener(Server& server, Pod& pod, uint16_t slot, UniqueFd fd)
    : server_(server), pod_(pod), slot_(slot), fd_(std::move(fd)) {
  (void)server_.loop().watch_socket(fd_.get(), *this);
}

TcpListener::~TcpListener() { server_.loop().unwatch(fd_.get()); }

void TcpListener::on_ready(uint32_t /*events*/) {
  if (!net::ListHook<net::AgainTag>::linked()) {
    accept();
  }
}

void TcpListener::accept() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      // Without a descriptor left the connection stays where it is.
      if (errno == EMFILE || errno == ENFILE) {
        pod_.pause(*this);
        pod_.rest();
      }
      return;
    }
    if (pod_.connections.size() < server_.settings().tcp_connections) {
      const Client client{
          .protocol = Protocol::tcp, .slot = slot_, .from = {}, .connection = ++pod_.last_connection};
      auto connection = std::make_unique<TcpConnection>(server_, pod_, client, std::move(fd));
      pod_.connections.emplace(client.connection, std::move(connection));
    }
    if (!pod_.may_ask()) {
      pod_.pause(*this);
      return;
    }
  }
  server_.loop().resume_later(*this);
}

TcpConnection::TcpConnection(Server& server, Pod& pod, Client client, UniqueFd fd)
    : server_(server), pod_(pod), client_(client), fd_(std::move(fd)) {
  (void)server_.loop().watch_socket(fd_.get(), *this);
  server_.idle_deadlines().arm(*this, server_.loop().now_ns());
}

TcpConnection::~TcpConnection() { server_.loop().unwatch(fd_.get()); }

void TcpConnection::on_ready(uint32_t events) {
  if (is_closed_) {
    return;
  }
  if ((events & EPOLLERR) != 0) {
    close();
    return;
  }
  write();
  if (!is_closed_ && !net::ListHook<net::AgainTag>::linked()) {
    read();
  }
}

void TcpConnection::on_resume() {
  if (!is_closed_) {
    read();
  }
}

void TcpConnection::on_deadline() {
  if (waiting_ == 0) {
    close();
  } else {
    server_.idle_deadlines().arm(*this, server_.loop().now_ns());
  }
}

/// What has come is asked before more is read, so a connection holds little more than one message.
void TcpConnection::read() {
  ask();
  for (int turn = 0; turn < 4; ++turn) {
    if (is_closed_ || at_end_ || net::ListHook<net::AgainTag>::linked() || waiting_ >= kMaxPipelined) {
      break;
    }
    if (!read_more()) {
      break;
    }
    ask();
    if (turn == 3) {
      server_.loop().resume_later(*this);
    }
  }
  if (!is_closed_ && at_end_ && is_done() && !net::ListHook<net::AgainTag>::linked()) {
    close();
  }
}

bool TcpConnection::read_more() {
  std::array<char, kReadBytes> buffer;
  const ssize_t length = recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (length > 0) {
    incoming_.append(buffer.data(), static_cast<size_t>(length));
    server_.idle_deadlines().arm(*this, server_.loop().now_ns());
    return true;
  }
  if (length == 0) {
    at_end_ = true;
  } else if (errno != EAGAIN && errno != EINTR) {
    close();
  }
  return false;
}

void TcpConnection::ask() {
  while (!is_closed_ && incoming_.size() >= 2 && waiting_ < kMaxPipelined) {
    const size_t frame = 2 + size_t{message_id(incoming_)};
    if (incoming_.size() < frame) {
      return;
    }
    if (frame < 2 + kHeaderBytes) {
      close();
      return;
    }
    if (!pod_.may_ask()) {
      pod_.pause(*this);
      return;
    }
    ++waiting_;
    if (server_.admit(pod_, client_, incoming_.substr(2, frame - 2)) == Server::Admission::full) {
      --waiting_;
      pod_.pause(*this);
      return;
    }
    incoming_.erase(0, frame);
  }
}

void TcpConnection::reply(const std::string& message) {
  if (is_closed_) {
    return;
  }
  --waiting_;
  if (!message.empty()) {
    const size_t length = message.size();
    outgoing_ += {static_cast<char>(length >> 8), static_cast<char>(length & 0xff)};
    outgoing_ += message;
    write();
  }
  if (is_closed_) {
    return;
  }
  server_.idle_deadlines().arm(*this, server_.loop().now_ns());
  // From where its queries were left unread. Not at once: the caller may be in the middle of them.
  if (!net::ListHook<net::AgainTag>::linked()) {
    server_.loop().resume_later(*this);
  }
}

void TcpConnection::write() {
  while (!outgoing_.empty()) {
    const ssize_t sent = send(fd_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        close();
      }
      break;
    }
    outgoing_.erase(0, static_cast<size_t>(sent));
  }
  if (outgoing_.size() > kMaxUnreadBytes) {
    close();
  }
}

/// The object lives to the end of the turn: whoever calls may still be at work in it.
void TcpConnection::close() {
  if (is_closed_) {
    return;
  }
  is_closed_ = true;
  net::Timed::disarm();
  net::ListHook<net::AgainTag>::unlink();
  const auto found = pod_.connections.find(client_.connection);
  server_.loop().dispose(std::move(found->second));
  pod_.connections.erase(found);
}

}  // namespace hadal::dns
