/* SPDX-License-Identifier: GPL-2.0 */
/* Connections by pod, edge and reason that no tunnel counts: left alone, or refused at connect(). */
#ifndef HADAL_LIB_UNTOUCHED_H
#define HADAL_LIB_UNTOUCHED_H

#include "lib/counters.h"
#include "lib/kernel.h"

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_untouched_key);
  __type(value, struct hadal_untouched_counters);
} untouched_counts SEC(".maps");

/* Not a plain addition: what a softirq counts on this CPU in between must not be lost, bytes are told
 * exactly. */
static __always_inline void add_to(__u64* counter, __u64 amount) { __sync_fetch_and_add(counter, amount); }

static __always_inline struct hadal_untouched_counters* untouched_counters(__u32 pod_index, __u32 edge,
                                                                           __u16 reason, __u8 direction) {
  struct hadal_untouched_key key = {
      .pod_index = pod_index,
      .edge = edge,
      .reason = reason,
      .direction = direction,
  };
  struct hadal_untouched_counters* counters = bpf_map_lookup_elem(&untouched_counts, &key);
  if (!counters) {
    struct hadal_untouched_counters zero = {};
    bpf_map_update_elem(&untouched_counts, &key, &zero, BPF_NOEXIST);
    counters = bpf_map_lookup_elem(&untouched_counts, &key);
  }
  if (!counters) count_fault(HADAL_FAULT_COUNTERS_FULL);
  return counters;
}

#endif
