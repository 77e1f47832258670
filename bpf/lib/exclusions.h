/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ports and ranges that annotations of a pod take out of the capture. A pod without any pays a test of its
 * flags and no lookup. Where an entry is missing the connection is captured, except for those of an include
 * list.
 */
#ifndef HADAL_LIB_EXCLUSIONS_H
#define HADAL_LIB_EXCLUSIONS_H

#include "lib/address.h"
#include "lib/kernel.h"
#include "shared/exclusions.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_excluded_port_key);
  __type(value, __u32);
} excluded_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_excluded_range_key);
  __type(value, __u32);
} excluded_ranges SEC(".maps");

static __always_inline bool lists_port(__u32 pod_index, __u16 port, __u8 list) {
  struct hadal_excluded_port_key key = {.pod_index = pod_index, .port = port, .list = list};
  return bpf_map_lookup_elem(&excluded_ports, &key) != NULL;
}

static __always_inline bool lists_range(__u32 pod_index, const struct hadal_address* address, __u16 list) {
  struct hadal_excluded_range_key key = {
      .prefix_length = 64 + 128,
      .pod_index = pod_index,
      .list = list,
      .family = address_is_ipv4(address) ? 4 : 6,
      .address = *address,
  };
  return bpf_map_lookup_elem(&excluded_ranges, &key) != NULL;
}

/* In the order of Istio's sidecars: what is excluded, then what is included. */
static __always_inline bool excludes_outbound(const struct hadal_pod* pod,
                                              const struct hadal_address* destination, __u16 port) {
  __u32 pod_index = pod->pod_index;
  __u32 flags = pod->flags;

  if (!(flags & HADAL_POD_SELECTS_OUTBOUND)) return false;
  if (lists_port(pod_index, port, HADAL_LIST_OUTBOUND_EXCLUDED)) return true;
  if (lists_range(pod_index, destination, HADAL_LIST_OUTBOUND_EXCLUDED)) return true;
  if (!(flags & HADAL_POD_INCLUDES_OUTBOUND)) return false;
  return !lists_port(pod_index, port, HADAL_LIST_OUTBOUND_INCLUDED) &&
         !lists_range(pod_index, destination, HADAL_LIST_OUTBOUND_INCLUDED);
}

static __always_inline bool excludes_inbound(__u32 pod_index, __u32 flags, __u16 port) {
  if (!(flags & HADAL_POD_SELECTS_INBOUND)) return false;
  if (flags & HADAL_POD_INCLUDES_INBOUND) return !lists_port(pod_index, port, HADAL_LIST_INBOUND_INCLUDED);
  return lists_port(pod_index, port, HADAL_LIST_INBOUND_EXCLUDED);
}

#endif
