/* SPDX-License-Identifier: GPL-2.0 */
/* Whether an agent runs. */
#ifndef HADAL_LIB_HEARTBEAT_H
#define HADAL_LIB_HEARTBEAT_H

#include "lib/kernel.h"
#include "shared/capture.h"

/* CLOCK_MONOTONIC of the agent's last sign of life, by HADAL_HEARTBEAT_... */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, HADAL_HEARTBEAT_COUNT);
  __type(key, __u32);
  __type(value, __u64);
} agent_heartbeat SEC(".maps");

static __always_inline bool agent_is_alive(__u32 slot, __s64 stale_ms) {
  const __u64* beat = bpf_map_lookup_elem(&agent_heartbeat, &slot);
  return beat && (__s64)(bpf_ktime_get_ns() - *beat) < stale_ms * 1000000;
}

#endif
