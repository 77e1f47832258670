/* SPDX-License-Identifier: GPL-2.0 */
/* Which network namespace is whose, which addresses a pod has, and which sockets are the agent's own. */
#ifndef HADAL_LIB_PODS_H
#define HADAL_LIB_PODS_H

#include "lib/kernel.h"
#include "shared/capture.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct hadal_pod);
} pods SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 32768);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_pod_address_key);
  __type(value, __u32);
} pod_addresses SEC(".maps");

/* Set through the map's fd, never by mark, cgroup or uid. A listener's children inherit it. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
  __type(key, int);
  __type(value, __u32);
} exempt SEC(".maps");

static __always_inline bool pod_owns(__u32 pod_index, const struct hadal_address* address) {
  struct hadal_pod_address_key key = {.pod_index = pod_index, .address = *address};
  return bpf_map_lookup_elem(&pod_addresses, &key) != NULL;
}

#endif
