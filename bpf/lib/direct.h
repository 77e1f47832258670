/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connection to a pod of this node that no proxy carries, as connect() begins it: an endpoint is picked and
 * written into the address. What does not hold sends the connection to the agent instead, never on in clear.
 * sockops.bpf.c goes on with it before the SYN.
 */
#ifndef HADAL_LIB_DIRECT_H
#define HADAL_LIB_DIRECT_H

#include "lib/address.h"
#include "lib/heartbeat.h"
#include "lib/kernel.h"
#include "lib/pods.h"
#include "lib/rows.h"
#include "lib/sockets.h"

/* The address that connect() is to use instead. */
struct chosen {
  struct hadal_address address;
  __u16 port; /* 0: none was chosen */
};

/*
 * Multipath TCP makes further connections that no hook tells of. Fast Open sends bytes with the SYN, before
 * anybody knows who answers.
 */
static __always_inline bool is_trackable(struct bpf_sock* sk) {
  const struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
  if (!tcp) return false;
  return !tcp->fastopen_req && !BPF_CORE_READ_BITFIELD(tcp, fastopen_connect) && !tcp->inet_conn.icsk_ulp_ops;
}

static __always_inline bool is_enrolled(__u64 netns_cookie, __u32 pod_index) {
  const struct hadal_pod* pod = bpf_map_lookup_elem(&pods, &netns_cookie);
  return pod && pod->pod_index == pod_index && (pod->flags & HADAL_POD_CAPTURE_OUTBOUND);
}

/* What an earlier connect() of this socket has chosen does not hold for the next. */
static __always_inline void forget_choice(struct bpf_sock* sk) {
  struct socket_state* state = bpf_sk_storage_get(&socket_states, sk, NULL, 0);
  if (state && state->role == ROLE_CHOSEN) forget_socket(state);
}

/*
 * Takes the picked target, or says why the agent must carry the connection. HADAL_REASON_NONE and no port:
 * the picked slot is the agent's.
 */
static __always_inline __u32 choose_direct(struct bpf_sock* sk, const struct hadal_pod* pod,
                                           const struct hadal_row* row, const struct hadal_address* asked,
                                           __u16 asked_port, struct chosen* chosen) {
  struct socket_state* state;
  struct hadal_target target;

  if (!pick_target(row, &target)) return HADAL_REASON_DIRECT_NO_TARGET;
  if (target.kind != HADAL_TARGET_DIRECT) return HADAL_REASON_NONE;
  if (target.target_set != row->target_set || address_is_ipv4(&target.address) != address_is_ipv4(asked))
    return HADAL_REASON_DIRECT_NO_TARGET;
  if (!agent_is_alive(HADAL_HEARTBEAT_ROWS, HADAL_HEARTBEAT_DIRECT_STALE_MS))
    return HADAL_REASON_DIRECT_AGENT_SILENT;
  if (!is_enrolled(target.destination_netns_cookie, target.destination_pod_index))
    return HADAL_REASON_DIRECT_POD_GONE;
  if (!is_trackable(sk)) return HADAL_REASON_DIRECT_NOT_TRACKABLE;
  state = bpf_sk_storage_get(&socket_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (!state) return HADAL_REASON_DIRECT_NOT_STORED;
  state->role = ROLE_CHOSEN;
  state->pod_index = pod->pod_index;
  state->flow_limit = pod->flow_limit;
  state->asked = *asked;
  state->asked_port = asked_port;
  state->edge = target.edge;
  state->inbound_edge = target.inbound_edge;
  state->peer_pod_index = target.destination_pod_index;
  chosen->address = target.address;
  chosen->port = target.port;
  return HADAL_REASON_NONE;
}

#endif
