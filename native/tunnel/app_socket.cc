#include "native/tunnel/app_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "native/net/socket.h"

namespace hadal::tunnel {
namespace {

constexpr size_t kMaxParts = 1024;  // IOV_MAX

ssize_t send_parts(int fd, std::span<iovec> parts) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = std::min(parts.size(), kMaxParts);
  ssize_t sent = 0;
  do {
    sent = parts.size() == 1 ? send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                             : sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

size_t first_parts_bytes(std::span<iovec> parts) {
  size_t bytes = 0;
  for (size_t i = 0; i < std::min(parts.size(), kMaxParts); ++i) {
    bytes += parts[i].iov_len;
  }
  return bytes;
}

}  // namespace

AppSocket::Write AppSocket::write(std::span<iovec> parts, size_t size, size_t& written) {
  written = 0;
  if (held_ || !kept_.empty()) {
    kept_.append(parts, 0);
    return Write::kept;
  }
  std::span<iovec> rest = parts;
  while (!rest.empty()) {
    const size_t offered = rest.size() <= kMaxParts ? size - written : first_parts_bytes(rest);
    const ssize_t sent = send_parts(fd_.get(), rest);
    if (sent < 0 && errno != EAGAIN) {
      return Write::failed;
    }
    const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
    written += taken;
    if (taken < offered) {
      kept_.append(rest, taken);
      return Write::kept;
    }
    rest = rest.subspan(std::min(rest.size(), kMaxParts));
  }
  return Write::done;
}

AppSocket::Write AppSocket::write_kept(size_t& written) {
  written = 0;
  while (!held_ && !kept_.empty()) {
    iovec part{.iov_base = kept_.bytes().data(), .iov_len = kept_.size()};
    const ssize_t sent = send_parts(fd_.get(), {&part, 1});
    if (sent < 0) {
      return errno == EAGAIN ? Write::kept : Write::failed;
    }
    const size_t of_preface = std::min(preface_bytes_, static_cast<size_t>(sent));
    preface_bytes_ -= of_preface;
    written += static_cast<size_t>(sent) - of_preface;
    kept_.drop_front(static_cast<size_t>(sent));
  }
  return kept_.empty() ? Write::done : Write::kept;
}

void AppSocket::prepend(std::span<const uint8_t> preface) {
  SpillBuffer whole;
  whole.append(preface);
  whole.append(kept_.bytes());
  kept_ = std::move(whole);
  preface_bytes_ = preface.size();
}

bool AppSocket::end_writes() {
  if (!fin_sent_ && !held_ && kept_.empty() && fd_.valid()) {
    shutdown(fd_.get(), SHUT_WR);
    fin_sent_ = true;
  }
  return fin_sent_;
}

void AppSocket::abort() {
  if (fd_.valid() && !input_.broken()) {
    net::reset_on_close(fd_.get());
  }
  fd_.reset();
}

}  // namespace hadal::tunnel
