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

static __always_inline const struct hadal_row* find_row(__u32 pod_index, const struct hadal_address* address,
                                                        __u16 port) {
  struct hadal_row_key key = {.pod_index = pod_index, .port = port, .address = *address};
  return bpf_map_lookup_elem(&outbound_rows, &key);
}

/* One of the row's targets by chance; NULL when its set was taken out since. */
static __always_inline const struct hadal_target* pick_target(const struct hadal_row* row) {
  struct hadal_target_key key = {.target_set = row->target_set};
  __u32 count = row->target_count;

  if (count == 0) return NULL;
  key.slot = bpf_get_prandom_u32() % count;
  return bpf_map_lookup_elem(&direct_targets, &key);
}

static __always_inline bool in_ranges(const struct hadal_address* address) {
  struct hadal_range_key key = {.prefix_length = 128, .address = *address};
  return bpf_map_lookup_elem(&ranges, &key) != NULL;
}

#endif
