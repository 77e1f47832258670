/* Who sends when, and how a connection ends. */
#pragma once
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "read.h"
#include "write.h"

static inline void ended(struct peer* peer, ssize_t count) {
  const char* how = count >= 0 ? "end" : errno == ECONNRESET ? "reset" : strerrorname_np(errno);
  snprintf(peer->end, sizeof(peer->end), "%s", how);
}

/* The kernel tells of an RST once: when the writer hears of it, the reader reads to an end. */
static inline void conclude(struct peer* peer) {
  if (strcmp(peer->end, "end") != 0 || peer->received >= peer->in_total || peer->mode->flow == HELD_BACK)
    return;
  if (peer->write_was_reset)
    snprintf(peer->end, sizeof(peer->end), "reset");
  else
    note_wrong(peer, (int64_t)peer->received);
}

/* Until the end of the stream, or until so many bytes are here. */
static inline bool read_until(struct peer* peer, uint64_t place) {
  while (peer->received < place) {
    ssize_t count = read_some(peer, place - peer->received);
    struct pollfd more = {.fd = peer->fd, .events = POLLIN};
    if (count > 0) continue;
    if (count < 0 && errno == EAGAIN && poll(&more, 1, -1) > 0) {
      peer->would_block++;
      continue;
    }
    ended(peer, count);
    return false;
  }
  return true;
}

static inline void read_to_end(struct peer* peer) { read_until(peer, UINT64_MAX); }

static inline bool write_until(struct peer* peer, uint64_t place) {
  while (peer->sent < place) {
    if (write_some(peer, place - peer->sent) >= 0) continue;
    peer->write_was_reset = errno == ECONNRESET;
    return false;
  }
  return true;
}

static inline void write_to_end(struct peer* peer) {
  if (write_until(peer, peer->out_total)) shutdown(peer->fd, SHUT_WR);
}

static inline void* write_thread(void* argument) {
  write_to_end(argument);
  return NULL;
}

static inline void* write_half_thread(void* argument) {
  struct peer* peer = argument;
  write_until(peer, peer->out_total / 2);
  return NULL;
}

static inline void both_ways(struct peer* peer) {
  pthread_t writer;
  pthread_create(&writer, NULL, write_thread, peer);
  read_to_end(peer);
  pthread_join(writer, NULL);
}

/* The other side's stream ends while half of this one is still to come. */
static inline void rest_after_end(struct peer* peer) {
  pthread_t writer;
  pthread_create(&writer, NULL, write_half_thread, peer);
  read_to_end(peer);
  pthread_join(writer, NULL);
  write_to_end(peer);
}

/* One after the other, in pieces whose size both know: bytes that are held back somewhere stop it. */
static inline void in_turns(struct peer* peer) {
  uint64_t sizes = peer->is_server ? peer->in_seed : peer->out_seed;
  uint64_t out_end = 0, in_end = 0;
  for (bool mine = !peer->is_server; out_end < peer->out_total || in_end < peer->in_total; mine = !mine) {
    uint64_t* end = mine ? &out_end : &in_end;
    uint64_t total = mine ? peer->out_total : peer->in_total;
    *end += least(random_size(&sizes, 18), total - *end);
    if (mine ? !write_until(peer, out_end) : !read_until(peer, in_end)) return;
  }
  shutdown(peer->fd, SHUT_WR);
  read_to_end(peer);
}

static inline void take_what_is_there(struct peer* peer) {
  for (;;) {
    ssize_t count = read_plain(peer, random_size(&peer->read_random, 18), 0);
    if (count > 0) continue;
    if (count < 0 && errno == EAGAIN) return;
    return ended(peer, count);
  }
}

/* False after an error. */
static inline bool give_what_fits(struct peer* peer) {
  while (peer->sent < peer->out_total) {
    ssize_t count = write_some(peer, peer->out_total - peer->sent);
    if (count < 0) return errno == EAGAIN;
  }
  shutdown(peer->fd, SHUT_WR);
  return true;
}

/* Told once of each change: a wake-up that is missing stops it. */
static inline void edge_triggered(struct peer* peer) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
  int queue = epoll_create1(EPOLL_CLOEXEC);
  bool writing = true;
  fcntl(peer->fd, F_SETFL, O_NONBLOCK);
  epoll_ctl(queue, EPOLL_CTL_ADD, peer->fd, &event);
  while (peer->end[0] == 0 || (writing && peer->sent < peer->out_total)) {
    if (epoll_wait(queue, &event, 1, -1) < 1) continue;
    if (peer->end[0] == 0 && (event.events & ~EPOLLOUT)) take_what_is_there(peer);
    if (writing && peer->sent < peer->out_total && (event.events & ~EPOLLIN)) writing = give_what_fits(peer);
  }
  close(queue);
}

static inline void leave(struct peer* peer, bool by_reset) {
  struct linger reset = {.l_onoff = 1};
  if (by_reset) setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  close(peer->fd);
  peer->fd = -1;
}

/* In the middle of both streams. What the other side has by then must be a beginning of what was sent. */
static inline void stop_halfway(struct peer* peer, bool by_reset) {
  pthread_t writer;
  pthread_create(&writer, NULL, write_half_thread, peer);
  if (read_until(peer, peer->in_total / 2)) snprintf(peer->end, sizeof(peer->end), "left");
  pthread_join(writer, NULL);
  if (!by_reset) {
    struct pollfd more = {.fd = peer->fd, .events = POLLIN};
    poll(&more, 1, 5000);
  }
  leave(peer, by_reset);
}

/* What is taken of a client whose server does not read is bounded, and all of it arrives. */
static inline void held_back(struct peer* peer) {
  struct pollfd room = {.fd = peer->fd, .events = POLLOUT};
  if (peer->is_server) {
    usleep(DEAF_MS * 1000);
    shutdown(peer->fd, SHUT_WR);
    return read_to_end(peer);
  }
  fcntl(peer->fd, F_SETFL, O_NONBLOCK);
  while (peer->sent < peer->out_total && poll(&room, 1, FULL_MS) > 0)
    if (write_some(peer, peer->out_total - peer->sent) < 0 && errno != EAGAIN) break;
  shutdown(peer->fd, SHUT_WR);
  fcntl(peer->fd, F_SETFL, 0);
  read_to_end(peer);
}

static inline void greeting_first(struct peer* peer) {
  if (!peer->is_server && !read_until(peer, least(GREETING_BYTES, peer->in_total))) return;
  both_ways(peer);
}

static inline void run_flow(struct peer* peer) {
  const bool server = peer->is_server;
  switch (peer->mode->flow) {
    case SERVER_FIRST:
      return greeting_first(peer);
    case CLIENT_ENDS_FIRST:
      return server ? rest_after_end(peer) : both_ways(peer);
    case SERVER_ENDS_FIRST:
      return server ? both_ways(peer) : rest_after_end(peer);
    case TURNS:
      return in_turns(peer);
    case EDGE_TRIGGERED:
      return edge_triggered(peer);
    case CLIENT_RESETS:
      return server ? both_ways(peer) : stop_halfway(peer, true);
    case SERVER_RESETS:
      return server ? stop_halfway(peer, true) : both_ways(peer);
    case HELD_BACK:
      return held_back(peer);
    case CLIENT_LEAVES:
      return server ? both_ways(peer) : stop_halfway(peer, false);
    default:
      return both_ways(peer);
  }
}
