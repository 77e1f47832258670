/* Ways to write: each sends some bytes of the peer's stream, at most `left`, and says how many, or -1. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "peer.h"

static inline ssize_t write_plain(struct peer* peer, size_t size) {
  content(peer->out_seed, peer->sent, peer->write_buffer, size);
  return send(peer->fd, peer->write_buffer, size, MSG_NOSIGNAL);
}

static inline ssize_t write_vector(struct peer* peer, size_t size) {
  enum { MOST_PARTS = 16 };
  struct iovec parts[MOST_PARTS];
  struct msghdr message = {.msg_iov = parts};
  size_t at = 0;
  content(peer->out_seed, peer->sent, peer->write_buffer, size);
  while (at < size && message.msg_iovlen < MOST_PARTS) {
    size_t part = least(random_size(&peer->write_random, 16), size - at);
    parts[message.msg_iovlen++] = (struct iovec){peer->write_buffer + at, part};
    at += part;
  }
  return sendmsg(peer->fd, &message, MSG_NOSIGNAL);
}

/* The pages of a file go to the socket as they are, so it holds the whole stream and is never written again.
 */
static inline ssize_t write_file(struct peer* peer, size_t size) {
  off_t place = (off_t)peer->sent;
  return sendfile(peer->fd, peer->file, &place, size);
}

static inline ssize_t write_spliced(struct peer* peer, size_t size) {
  ssize_t filled, moved, sum = 0;
  content(peer->out_seed, peer->sent, peer->write_buffer, size);
  filled = write(peer->out_pipe[1], peer->write_buffer, least(size, 64 << 10));
  for (; filled > 0 && sum < filled; sum += moved) {
    moved = splice(peer->out_pipe[0], NULL, peer->fd, NULL, (size_t)(filled - sum), 0);
    if (moved <= 0) return -1;
  }
  return filled > 0 ? sum : -1;
}

/* Many pieces behind a cork, which is pulled now and then. */
static inline ssize_t write_corked(struct peer* peer, size_t size) {
  ssize_t count = write_plain(peer, size);
  if (next_random(&peer->write_random) % 16 == 0) {
    for (int on = 0; on <= 1; on++) setsockopt(peer->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
  }
  return count;
}

static inline ssize_t write_some(struct peer* peer, uint64_t left) {
  size_t size = least(random_size(&peer->write_random, 20), left);
  ssize_t count;
  switch (peer->mode->write) {
    case WRITEV:
      count = write_vector(peer, size);
      break;
    case SENDFILE:
      count = write_file(peer, size);
      break;
    case SPLICE_IN:
      count = write_spliced(peer, size);
      break;
    case CORKED:
      count = write_corked(peer, least(random_size(&peer->write_random, 12), left));
      break;
    case TINY:
      count = write_plain(peer, least(random_size(&peer->write_random, 11), left));
      break;
    default:
      count = write_plain(peer, size);
  }
  if (count > 0) peer->sent += (uint64_t)count;
  return count;
}

static inline bool prepare_writing(struct peer* peer) {
  int on = 1;
  peer->write_buffer = malloc(MOST_BYTES);
  if (peer->mode->write == TINY) setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (peer->mode->write == CORKED) setsockopt(peer->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
  if (peer->mode->write != SENDFILE) return true;
  peer->file = memfd_create("stream", MFD_CLOEXEC);
  for (uint64_t place = 0; place < peer->out_total;) {
    size_t size = least(MOST_BYTES, peer->out_total - place);
    content(peer->out_seed, place, peer->write_buffer, size);
    if (write(peer->file, peer->write_buffer, size) != (ssize_t)size) return false;
    place += size;
  }
  return true;
}
