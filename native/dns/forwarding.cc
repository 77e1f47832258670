#include "native/dns/forwarding.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "native/dns/pod.h"
#include "native/dns/server.h"
#include "native/net/netns_visit.h"
#include "native/net/pod_socket.h"
#include "native/net/socket.h"

namespace hadal::dns {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr int kMostDatagrams = 64;

uint16_t random_id() {
  uint16_t id = 0;
  (void)getrandom(&id, sizeof(id), 0);
  return id;
}

std::array<char, kMaxMessageBytes>& scratch() {
  static thread_local std::array<char, kMaxMessageBytes> buffer;
  return buffer;
}

}  // namespace

Forwarding::Forwarding(Server& server, Pod& pod, ForwardRequest request)
    : server_(server),
      pod_(pod),
      request_(std::move(request)),
      started_ns_(server.loop().now_ns()),
      id_(random_id()) {}

Forwarding::~Forwarding() {
  if (fd_.valid()) {
    server_.loop().unwatch(fd_.get());
  }
}

Result<void> Forwarding::start() {
  const net::PodSocketRequest wanted{.is_udp = is_udp(),
                                     .is_ipv6 = !request_.nameserver.is_v4(),
                                     .local = {},
                                     .remote = net::SocketAddress{request_.nameserver, kDnsPort},
                                     .exempt_map_fd = server_.settings().exempt_map.get()};
  auto opened = net::open_pod_socket_here(pod_.netns(), wanted);
  if (!opened) {
    return std::unexpected(opened.error());
  }
  fd_ = std::move(opened->fd);
  set_message_id(request_.message, id_);
  // Connected: the kernel drops what others send, and tells when nobody listens there.
  if (is_udp() && send(fd_.get(), request_.message.data(), request_.message.size(), MSG_NOSIGNAL) < 0) {
    return system_failure("ERR_DNS_UPSTREAM", "ask " + request_.nameserver.text(), "send", errno);
  }
  if (!is_udp()) {
    const size_t length = request_.message.size();
    outgoing_ = {static_cast<char>(length >> 8), static_cast<char>(length & 0xff)};
    outgoing_ += request_.message;
  }
  if (!server_.loop().watch_socket(fd_.get(), *this)) {
    return system_failure("ERR_DNS_UPSTREAM", "wait for " + request_.nameserver.text(), "epoll_ctl", errno);
  }
  server_.upstream_deadlines().arm(*this, server_.loop().now_ns());
  return {};
}

void Forwarding::on_ready(uint32_t /*events*/) {
  if (is_over_) {
    return;
  }
  if (is_udp()) {
    read_datagrams();
    return;
  }
  write_stream();
  if (!is_over_) {
    read_stream();
  }
}

void Forwarding::on_deadline() {
  fail(request_.nameserver.text() + " did not answer within " +
       std::to_string(server_.settings().upstream_timeout.count()) + " ms");
}

void Forwarding::read_datagrams() {
  for (int i = 0; i < kMostDatagrams; ++i) {
    const ssize_t length = recv(fd_.get(), scratch().data(), scratch().size(), 0);
    if (length < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        fail_errno(errno);
      }
      return;
    }
    const std::string_view answer(scratch().data(), static_cast<size_t>(length));
    if (is_answer_to(answer, id_, question_of(request_.message))) {
      is_over_ = true;
      server_.on_forwarded(*this, std::string(answer));
      return;
    }
  }
  // Nobody sends so much by mistake.
  fail(request_.nameserver.text() + " sends what was not asked");
}

void Forwarding::write_stream() {
  while (!outgoing_.empty()) {
    const ssize_t sent = send(fd_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        fail_errno(errno);
      }
      return;
    }
    outgoing_.erase(0, static_cast<size_t>(sent));
  }
}

void Forwarding::read_stream() {
  for (;;) {
    const ssize_t length = recv(fd_.get(), scratch().data(), scratch().size(), 0);
    if (length == 0) {
      fail(request_.nameserver.text() + " closed the connection");
      return;
    }
    if (length < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        fail_errno(errno);
      }
      return;
    }
    incoming_.append(scratch().data(), static_cast<size_t>(length));
    while (incoming_.size() >= 2) {
      const size_t frame = 2 + size_t{message_id(incoming_)};
      if (incoming_.size() < frame) {
        break;
      }
      const std::string answer = incoming_.substr(2, frame - 2);
      incoming_.erase(0, frame);
      if (is_answer_to(answer, id_, question_of(request_.message))) {
        is_over_ = true;
        server_.on_forwarded(*this, answer);
        return;
      }
    }
  }
}

void Forwarding::fail_errno(int error) {
  fail("ask " + request_.nameserver.text() + ": " + std::strerror(error));
}

void Forwarding::fail(const std::string& why) {
  if (!is_over_) {
    is_over_ = true;
    server_.on_forward_failed(*this, why);
  }
}

}  // namespace hadal::dns
