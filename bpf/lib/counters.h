/* SPDX-License-Identifier: GPL-2.0 */
/* How often each reason was met, per CPU: for the node, and for each pod. */
#ifndef HADAL_LIB_COUNTERS_H
#define HADAL_LIB_COUNTERS_H

#include "lib/kernel.h"
#include "shared/capture.h"
#include "shared/reasons.h"

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, HADAL_REASON_MAX);
  __type(key, __u32);
  __type(value, __u64);
} reason_counts SEC(".maps");

/* Grows with the reasons that a pod really meets, so not preallocated. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 32768);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_counter_key);
  __type(value, __u64);
} pod_counts SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, HADAL_FAULT_COUNT);
  __type(key, __u32);
  __type(value, __u64);
} capture_faults SEC(".maps");

static __always_inline void count_fault(enum hadal_fault fault) {
  __u32 slot = fault;
  __u64* count = bpf_map_lookup_elem(&capture_faults, &slot);
  if (count) *count += 1;
}

static __always_inline void count_reason(__u32 reason) {
  __u64* count = bpf_map_lookup_elem(&reason_counts, &reason);
  if (count) *count += 1;
}

static __noinline __attribute__((unused)) int count_for_pod(__u32 pod_index, __u32 reason) {
  struct hadal_counter_key key = {.pod_index = pod_index, .reason = reason};
  __u64* count;

  count_reason(reason);
  count = bpf_map_lookup_elem(&pod_counts, &key);
  if (!count) {
    __u64 zero = 0;
    /* Another CPU may have been first: then its entry is the one to find. */
    bpf_map_update_elem(&pod_counts, &key, &zero, BPF_NOEXIST);
    count = bpf_map_lookup_elem(&pod_counts, &key);
  }
  if (count)
    *count += 1;
  else
    count_fault(HADAL_FAULT_COUNTERS_FULL);
  return 0;
}

#endif
