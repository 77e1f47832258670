#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "native/dns/server.h"
#include "native/dns/sockets.h"
#include "native/net/socket.h"

namespace hadal::dns {
namespace {

/// Then the sockets of other pods have their turn.
constexpr int kDatagramsPerTurn = 32;
/// Longer ones are no queries.
constexpr size_t kMaxQueryBytes = 4'096;

}  // namespace

UdpSocket::UdpSocket(Server& server, Pod& pod, uint16_t slot, UniqueFd fd)
    : server_(server), pod_(pod), slot_(slot), fd_(std::move(fd)) {
  net::set_option(fd_.get(), SOL_SOCKET, SO_RXQ_OVFL, 1);
  (void)server_.loop().watch_socket(fd_.get(), *this);
}

UdpSocket::~UdpSocket() { server_.loop().unwatch(fd_.get()); }

void UdpSocket::on_ready(uint32_t /*events*/) {
  // One that waits for its turn is read then.
  if (!net::ListHook<net::AgainTag>::linked()) {
    read();
  }
}

void UdpSocket::read() {
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    if (!read_one()) {
      return;
    }
    if (!pod_.may_ask()) {
      pod_.unread = Drop::over_rate;
      pod_.pause(*this);
      return;
    }
  }
  server_.loop().resume_later(*this);
}

/// False: there is nothing more to read now, or nothing more may be.
bool UdpSocket::read_one() {
  static thread_local std::array<char, kMaxQueryBytes> buffer;
  alignas(cmsghdr) std::array<char, 64> control{};
  sockaddr_storage from{};
  iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_name = &from;
  header.msg_namelen = sizeof(from);
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t length = recvmsg(fd_.get(), &header, 0);
  if (length < 0) {
    // An answer that reached nobody is told here, by the error of its port.
    return errno != EAGAIN;
  }
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_RXQ_OVFL) {
      uint32_t dropped = 0;
      std::memcpy(&dropped, CMSG_DATA(part), sizeof(dropped));
      server_.count_drops(pod_, pod_.unread, dropped - std::exchange(dropped_, dropped));
    }
  }
  if (static_cast<size_t>(length) < kHeaderBytes || (header.msg_flags & MSG_TRUNC) != 0) {
    return true;
  }
  const Client client{.protocol = Protocol::udp,
                      .slot = slot_,
                      .from = net::SocketAddress::from_sockaddr(from),
                      .connection = 0};
  const std::string message(buffer.data(), static_cast<size_t>(length));
  if (server_.admit(pod_, client, message) == Server::Admission::full) {
    pod_.unread = Drop::over_share;
    server_.count_drops(pod_, Drop::over_share, 1);
    pod_.pause(*this);
    return false;
  }
  return true;
}

void UdpSocket::send_to(const net::SocketAddress& to, const std::string& message) const {
  const net::Sockaddr address(to);
  // A client that is gone or does not read is no error of ours.
  (void)sendto(fd_.get(), message.data(), message.size(), MSG_NOSIGNAL, address.get(), address.length);
}

}  // namespace hadal::dns
