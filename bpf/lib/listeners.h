/* SPDX-License-Identifier: GPL-2.0 */
/* The agent's listeners in pods. */
#ifndef HADAL_LIB_LISTENERS_H
#define HADAL_LIB_LISTENERS_H

#include "lib/kernel.h"
#include "shared/capture.h"

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 32768);
  __type(key, struct hadal_listener_key);
  __type(value, __u64);
} listeners SEC(".maps");

/* Whether any worker has its listener of this kind in the pod: none has when the agent is gone. */
static __always_inline bool has_listener(__u32 pod_index, __u16 kind, __u32 worker_count) {
  for (__u32 worker = 0; worker < HADAL_MAX_WORKERS; worker++) {
    struct hadal_listener_key key = {.pod_index = pod_index, .kind = kind, .worker = worker};
    struct bpf_sock* listener;

    if (worker >= worker_count) break;
    listener = bpf_map_lookup_elem(&listeners, &key);
    if (!listener) continue;
    bpf_sk_release(listener);
    return true;
  }
  return false;
}

#endif
