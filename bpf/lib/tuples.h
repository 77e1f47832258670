/* SPDX-License-Identifier: GPL-2.0 */
/* Connections that a destination's sk_lookup lets through to the application, as their client sees them. */
#ifndef HADAL_LIB_TUPLES_H
#define HADAL_LIB_TUPLES_H

#include "lib/kernel.h"
#include "shared/capture.h"

/* LRU: a probe that finds no room must not wait; the evicted one meets the plaintext listener, never the
 * open. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 32768);
  __type(key, struct hadal_tuple);
  __type(value, __u32);
} kubelet_tuples SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 131072);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_tuple);
  __type(value, struct hadal_authorization);
} authorized SEC(".maps");

/*
 * What `seen` says of this tuple, never 0. By tuple: an entry that is freed may serve another key at once,
 * and a lookup that was about to write must say nothing of that one.
 */
static __always_inline __u32 mark_of(const struct hadal_tuple* tuple) {
  __u32 hash = 0x811c9dc5 ^ ((__u32)tuple->client_port << 16 | tuple->server_port);
  for (__u32 word = 0; word < 4; word++) {
    hash = (hash ^ tuple->client.words[word]) * 0x01000193;
    hash ^= hash >> 15;
    hash = (hash ^ tuple->server.words[word]) * 0x85ebca6b;
    hash ^= hash >> 13;
  }
  return hash | 1;
}

#endif
