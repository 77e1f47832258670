/* SPDX-License-Identifier: GPL-2.0 */
/* What sockops and the program at each send share. */
#ifndef HADAL_LIB_TURBO_MAPS_H
#define HADAL_LIB_TURBO_MAPS_H

#include "lib/kernel.h"
#include "shared/capture.h"
#include "shared/turbo.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} turbo_switch SEC(".maps");

/* Index of each pod that takes part. Looked up at every send too: a pod that is taken out is out at once. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, __u32);
} turbo_pods SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_tuple);
  __type(value, struct hadal_turbo_pair);
} turbo_pairs SEC(".maps");

/* By socket cookie, so that a tuple used again never leads to another connection. Nobody deletes here: what a
 * socket has not read yet would be lost. A socket that closes takes its entry with it. */
struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 131072);
  __type(key, __u64);
  __type(value, __u64);
} turbo_sockets SEC(".maps");

/* Which end of which pair a socket is. */
struct turbo_seat {
  struct hadal_tuple tuple;
  __u32 is_client;
};
HADAL_LAYOUT(struct turbo_seat, 40);

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct turbo_seat);
} turbo_seats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, HADAL_TURBO_COUNT);
  __type(key, __u32);
  __type(value, __u64);
} turbo_counts SEC(".maps");

static __always_inline void count_turbo(__u32 what) {
  __u64* count = bpf_map_lookup_elem(&turbo_counts, &what);
  if (count) *count += 1;
}

static __always_inline bool turbo_takes(__u32 pod_index) {
  return bpf_map_lookup_elem(&turbo_pods, &pod_index) != NULL;
}

static __always_inline bool turbo_is_on(void) {
  __u32 zero = 0;
  const __u32* now = bpf_map_lookup_elem(&turbo_switch, &zero);
  return now && *now == HADAL_TURBO_ON;
}

#endif
