/* SPDX-License-Identifier: GPL-2.0 */
/* Interfaces of a pod behind which a machine runs that the pod holds: what it sends is the pod's to send. */
#ifndef HADAL_LIB_VIRTUAL_INTERFACES_H
#define HADAL_LIB_VIRTUAL_INTERFACES_H

#include "lib/kernel.h"
#include "shared/capture.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_virtual_interface_key);
  __type(value, __u32);
} virtual_interfaces SEC(".maps");

/* Connections that others made to such a machine. LRU: the answers of one that is evicted are refused, never
 * taken for another. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct hadal_virtual_flow_key);
  __type(value, __u32);
} virtual_inbound SEC(".maps");

static __always_inline bool is_virtual_interface(__u32 pod_index, __u32 interface_index) {
  struct hadal_virtual_interface_key key = {.pod_index = pod_index, .interface_index = interface_index};
  return bpf_map_lookup_elem(&virtual_interfaces, &key) != NULL;
}

#endif
