/* Ways to read: each takes some bytes, looks at every one of them, and says how many, 0 at the end, or -1. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "peer.h"

static inline void note_wrong(struct peer* peer, int64_t place) {
  if (place >= 0 && (peer->wrong < 0 || place < peer->wrong)) peer->wrong = place;
}

static inline void look_at(struct peer* peer, const uint8_t* got, size_t count, uint64_t place) {
  size_t known = place < peer->in_total ? least(count, peer->in_total - place) : 0;
  note_wrong(peer, first_wrong(peer->in_seed, place, got, known));
  if (known < count) note_wrong(peer, (int64_t)peer->in_total);
}

static inline ssize_t taken(struct peer* peer, ssize_t count) {
  if (count > 0) {
    look_at(peer, peer->read_buffer, (size_t)count, peer->received);
    peer->received += (uint64_t)count;
  }
  return count;
}

static inline ssize_t read_plain(struct peer* peer, size_t size, int flags) {
  return taken(peer, recv(peer->fd, peer->read_buffer, size, flags));
}

/* What a look ahead shows must be there when it is read, and be the same. */
static inline ssize_t read_peeked(struct peer* peer, size_t size) {
  ssize_t seen = recv(peer->fd, peer->read_buffer, size, MSG_PEEK);
  ssize_t count;
  if (seen <= 0) return seen;
  look_at(peer, peer->read_buffer, (size_t)seen, peer->received);
  size = least(random_size(&peer->read_random, 20), (uint64_t)seen);
  count = read_plain(peer, size, 0);
  if (count >= 0 && (size_t)count < size) peer->short_reads++;
  return count;
}

static inline ssize_t read_whole(struct peer* peer, size_t size) {
  size = least(size, peer->in_total - peer->received + 1);
  ssize_t count = read_plain(peer, size, MSG_WAITALL);
  if (count > 0 && (size_t)count < size && peer->received < peer->in_total) peer->short_reads++;
  return count;
}

static inline ssize_t read_spliced(struct peer* peer, size_t size) {
  ssize_t moved = splice(peer->fd, NULL, peer->in_pipe[1], NULL, least(size, 64 << 10), 0);
  ssize_t left = moved;
  while (left > 0) {
    ssize_t count = taken(peer, read(peer->in_pipe[0], peer->read_buffer, (size_t)left));
    if (count <= 0) return -1;
    left -= count;
  }
  return moved;
}

static inline ssize_t read_scattered(struct peer* peer, size_t size) {
  size_t middle = 1 + size / 3, most = size < 2 ? 2 : size;
  struct iovec parts[] = {{peer->read_buffer, middle}, {peer->read_buffer + middle, most - middle}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  return taken(peer, recvmsg(peer->fd, &message, 0));
}

/* As many as FIONREAD promises, without waiting. */
static inline ssize_t read_counted(struct peer* peer) {
  struct pollfd ready = {.fd = peer->fd, .events = POLLIN};
  int waiting = 0;
  ssize_t count;
  if (poll(&ready, 1, -1) < 0 || ioctl(peer->fd, FIONREAD, &waiting) < 0) return -1;
  count = read_plain(peer, waiting > 0 ? least((uint64_t)waiting, MOST_BYTES) : 1, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) {
    peer->short_reads++;
    return 1;
  }
  if (count > 0 && count < waiting && count < MOST_BYTES) peer->short_reads++;
  return count;
}

static inline ssize_t read_some(struct peer* peer, uint64_t most) {
  size_t size = least(random_size(&peer->read_random, 20), most);
  switch (peer->mode->read) {
    case PEEK:
      return read_peeked(peer, size);
    case WAITALL:
      return read_whole(peer, size);
    case SPLICE_OUT:
      return read_spliced(peer, size);
    case SCATTER:
      return read_scattered(peer, size);
    case COUNTED:
      return read_counted(peer);
    case SLOWLY:
      if (next_random(&peer->read_random) % 4 == 0) usleep(next_random(&peer->read_random) % 20000);
      return read_plain(peer, size, 0);
    default:
      return read_plain(peer, size, 0);
  }
}
