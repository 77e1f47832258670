/* SPDX-License-Identifier: GPL-2.0 */
/* What TypeScript decided about destinations. */
#ifndef HADAL_LIB_ROWS_H
#define HADAL_LIB_ROWS_H

#include "lib/kernel.h"
#include "shared/capture.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 262144);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_row_key);
  __type(value, struct hadal_row);
} outbound_rows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 524288);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_target_key);
  __type(value, struct hadal_target);
} direct_targets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 131072);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_range_key);
  __type(value, struct hadal_range);
} ranges SEC(".maps");

/*
 * What is read of a row or target is a copy. From 6.1 on an element that is freed may serve another key at
 * once, and a connect hook can be preempted between any two reads: a copy counts only when its key still
 * leads to where it was made.
 */
static __always_inline bool find_row(__u32 pod_index, const struct hadal_address* address, __u16 port,
                                     struct hadal_row* row) {
  struct hadal_row_key key = {.pod_index = pod_index, .port = port, .address = *address};
  const struct hadal_row* found = bpf_map_lookup_elem(&outbound_rows, &key);

  if (!found) return false;
  *row = *found;
  /* Being switched: whoever does it is there to say, of the captured connection, what it says now. */
  if (bpf_map_lookup_elem(&outbound_rows, &key) != found) row->verdict = HADAL_VERDICT_TUNNEL;
  return true;
}

/* For the counters alone: at worst one connection is told under the edge that the row had before. */
static __always_inline bool find_edge(__u32 pod_index, const struct hadal_address* address, __u16 port,
                                      __u32* edge) {
  struct hadal_row_key key = {.pod_index = pod_index, .port = port, .address = *address};
  const struct hadal_row* found = bpf_map_lookup_elem(&outbound_rows, &key);

  *edge = found ? found->edge : 0;
  return found;
}

/* One of the row's targets by chance; false when its set was taken out since. */
static __always_inline bool pick_target(const struct hadal_row* row, struct hadal_target* target) {
  struct hadal_target_key key = {.target_set = row->target_set};
  __u32 count = row->target_count;
  const struct hadal_target* found;

  if (count == 0) return false;
  key.slot = bpf_get_prandom_u32() % count;
  found = bpf_map_lookup_elem(&direct_targets, &key);
  if (!found) return false;
  *target = *found;
  return bpf_map_lookup_elem(&direct_targets, &key) == found;
}

static __always_inline bool in_ranges(const struct hadal_address* address) {
  struct hadal_range_key key = {.prefix_length = 128, .address = *address};
  return bpf_map_lookup_elem(&ranges, &key) != NULL;
}

#endif
