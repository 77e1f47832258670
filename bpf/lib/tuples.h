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

#endif
