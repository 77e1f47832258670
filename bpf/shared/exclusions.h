/* SPDX-License-Identifier: GPL-2.0 */
/* What annotations of a pod take out of the capture: keys of excluded_ports and excluded_ranges. */
#ifndef HADAL_SHARED_EXCLUSIONS_H
#define HADAL_SHARED_EXCLUSIONS_H

#include "capture.h"

enum hadal_exclusion_list {
  HADAL_LIST_OUTBOUND_EXCLUDED = 1,
  HADAL_LIST_OUTBOUND_INCLUDED = 2,
  HADAL_LIST_INBOUND_EXCLUDED = 3,
  HADAL_LIST_INBOUND_INCLUDED = 4,
};

struct hadal_excluded_port_key {
  __u32 pod_index;
  __u16 port;
  __u8 list; /* enum hadal_exclusion_list */
  __u8 reserved;
};
HADAL_LAYOUT(struct hadal_excluded_port_key, 8);

/* Longest prefix match; pod, list and family always count whole: a prefix has at least 64 bits, and ::/0
 * holds no IPv4. */
struct hadal_excluded_range_key {
  __u32 prefix_length;
  __u32 pod_index;
  __u16 list;   /* enum hadal_exclusion_list, one of the outbound ones */
  __u16 family; /* 4 or 6 */
  struct hadal_address address;
};
HADAL_LAYOUT(struct hadal_excluded_range_key, 28);

#endif
