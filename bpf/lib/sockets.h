/* SPDX-License-Identifier: GPL-2.0 */
/* What the capture remembers of a socket, freed with it. */
#ifndef HADAL_LIB_SOCKETS_H
#define HADAL_LIB_SOCKETS_H

#include "lib/kernel.h"
#include "shared/capture.h"

enum socket_role {
  ROLE_NONE = 0,      /* nothing: what it was for has ended */
  ROLE_KUBELET = 1,   /* a probe: its tuple must stand in kubelet_tuples while it lives */
  ROLE_UNTOUCHED = 2, /* an enrolled pod's connection that the capture left alone */
  ROLE_CHOSEN = 3,    /* connect() has chosen a pod of this node; not sent yet, or captured after all */
  ROLE_DIRECT = 4,    /* between two pods of this node, by the kernel alone: its client's end */
  ROLE_JOINED = 5,    /* the destination's end of such a one, while turbo carries it */
};

struct socket_state {
  __u64 opened_ns;
  __u64 counted_sent; /* what untouched_counters has of it already */
  __u64 counted_received;
  __u32 pod_index;
  __u32 edge;
  __u16 reason;
  __u8 role;
  __u8 direction;
  __u8 established;
  __u8 has_turbo; /* its bytes may go past TCP; turbo_seats has more */
  /* Of a chosen or direct one. */
  __u16 asked_port;
  struct hadal_address asked; /* what the process dialled */
  __u32 peer_pod_index;
  __u32 inbound_edge;
  __u32 flow_limit; /* of its pod */
  __u16 end_reason; /* for which the agent ends it */
  __u16 reserved2;
  /* As of the last look at turbo's table. */
  __u64 sent_past_tcp;
  __u64 received_past_tcp;
};
HADAL_LAYOUT(struct socket_state, 88);

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct socket_state);
} socket_states SEC(".maps");

/* Emptied for what the socket does next, and freed with it: to take it out costs each connection a grace
 * period of its own, more than everything else that is done for it here. */
static __always_inline void forget_socket(struct socket_state* state) {
  __builtin_memset(state, 0, sizeof(*state));
}

#endif
