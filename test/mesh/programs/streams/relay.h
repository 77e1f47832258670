/*
 * A relay that spoils a stream, so that a test sees what it would say: from the client's bytes it drops,
 * doubles or changes the one at a place, swaps it with the next, or ends the stream before it.
 */
#pragma once
#include <pthread.h>

#include "read.h"
#include "write.h"

struct course {
  int from, to;
  const char* fault; /* "" for the way back */
  uint64_t place, done;
};

static inline size_t spoil(const struct course* course, uint8_t* bytes, size_t count, bool* stop) {
  const char* fault = course->fault;
  size_t at = (size_t)(course->place - course->done);
  if (*fault == 0 || course->place < course->done || at + 1 >= count) return count;
  if (strcmp(fault, "swap") == 0) {
    uint8_t first = bytes[at];
    bytes[at] = bytes[at + 1];
    bytes[at + 1] = first;
  } else if (strcmp(fault, "change") == 0) {
    bytes[at] ^= 0x20;
  } else if (strcmp(fault, "drop") == 0) {
    memmove(bytes + at, bytes + at + 1, count - at - 1);
    return count - 1;
  } else if (strcmp(fault, "double") == 0) {
    memmove(bytes + at + 1, bytes + at, count - at);
    return count + 1;
  } else {
    *stop = true;
    return at;
  }
  return count;
}

static inline bool send_all(int fd, const uint8_t* bytes, size_t count) {
  while (count > 0) {
    ssize_t taken_now = send(fd, bytes, count, MSG_NOSIGNAL);
    if (taken_now < 0) return false;
    bytes += taken_now;
    count -= (size_t)taken_now;
  }
  return true;
}

static inline void* run_course(void* argument) {
  struct course* course = argument;
  uint8_t* bytes = malloc(MOST_BYTES + 1);
  bool stop = false;
  while (!stop) {
    /* Whole, so that the place is never the last byte of what is there. */
    ssize_t count = recv(course->from, bytes, MOST_BYTES, MSG_WAITALL);
    if (count <= 0) break;
    size_t size = spoil(course, bytes, (size_t)count, &stop);
    course->done += (uint64_t)count;
    if (!send_all(course->to, bytes, size)) break;
  }
  shutdown(course->to, SHUT_WR);
  free(bytes);
  return NULL;
}

static inline void run_relay(int client, int server, const char* fault, uint64_t place) {
  struct course there = {.from = client, .to = server, .fault = fault, .place = place};
  struct course back = {.from = server, .to = client, .fault = ""};
  pthread_t other;
  pthread_create(&other, NULL, run_course, &back);
  run_course(&there);
  pthread_join(other, NULL);
}
