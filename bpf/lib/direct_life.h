/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A direct connection from its SYN on, as its client's socket lives it. Its tuple stands in `authorized` from
 * before the SYN until the socket closes. The first ACK, and every byte after it, goes out only when the
 * destination's own lookup has seen the SYN.
 */
#ifndef HADAL_LIB_DIRECT_LIFE_H
#define HADAL_LIB_DIRECT_LIFE_H

#include "lib/flow_reports.h"
#include "lib/heartbeat.h"
#include "lib/pods.h"
#include "lib/tuples.h"

static __always_inline void set_option(struct bpf_sock_ops* ctx, int level, int option, __u32 value) {
  bpf_setsockopt(ctx, level, option, &value, sizeof(value));
}

/* Its packets are routed anew, back into the pod: to the agent's listener, which answers what is no SYN with
 * a reset. */
static __always_inline void bring_back(struct bpf_sock_ops* ctx, struct bpf_sock* sk) {
  set_option(ctx, SOL_SOCKET, SO_MARK, (sk->mark & ~HADAL_MARK_MASK) | HADAL_MARK);
}

/* While no agent runs there is no listener that would reset it: its owner would wait, and its tuple stand,
 * for minutes. It ends within two seconds, whether bytes wait in it or none. */
static __always_inline void let_end(struct bpf_sock_ops* ctx) {
  set_option(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
  set_option(ctx, IPPROTO_TCP, TCP_KEEPIDLE, 1);
  set_option(ctx, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(ctx, IPPROTO_TCP, TCP_KEEPCNT, 1);
  set_option(ctx, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static __always_inline __u32 authorize(struct socket_state* state, const struct hadal_tuple* tuple) {
  struct hadal_authorization entry = {
      .opened_ns = bpf_ktime_get_ns(),
      .destination_pod_index = state->peer_pod_index,
      .source_pod_index = state->pod_index,
      .inbound_edge = state->inbound_edge,
  };
  if (!pod_owns(state->pod_index, &tuple->client)) return HADAL_REASON_SOURCE_NOT_REGISTERED;
  if (!take_flow_slot(state->pod_index, state->flow_limit)) return HADAL_REASON_DIRECT_QUOTA;
  state->opened_ns = entry.opened_ns;
  if (bpf_map_update_elem(&authorized, tuple, &entry, BPF_ANY) == 0) return HADAL_REASON_NONE;
  return_flow_slot(state->pod_index);
  return HADAL_REASON_DIRECT_NOT_AUTHORIZED;
}

/* Before the SYN, whose route is looked up after this: what may not go directly is captured after all, for
 * the endpoint that was chosen. */
static __always_inline bool begin_direct(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                         struct socket_state* state) {
  struct hadal_tuple tuple;
  struct ends ends;
  __u32 reason;

  read_ends(ctx, &ends);
  client_tuple(&ends, &tuple);
  reason = authorize(state, &tuple);
  if (reason) {
    count_for_pod(state->pod_index, reason);
    bring_back(ctx, sk);
    /* connect() cannot be refused any more. Where no agent answers it fails after seconds, not minutes. */
    if (!agent_is_alive(HADAL_HEARTBEAT_ROWS, HADAL_HEARTBEAT_STALE_MS))
      set_option(ctx, IPPROTO_TCP, TCP_SYNCNT, 1);
    return false;
  }
  state->reason = HADAL_REASON_DIRECT;
  state->direction = HADAL_FLOW_OUTBOUND;
  state->role = ROLE_DIRECT;
  return true;
}

/* The SYN is answered, our ACK not sent yet. An address that went to somebody else while no agent ran passed
 * no lookup of ours. */
static __always_inline bool destination_is_seen(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                                struct socket_state* state) {
  const struct hadal_authorization* entry;
  struct hadal_tuple tuple;
  struct ends ends;

  read_ends(ctx, &ends);
  client_tuple(&ends, &tuple);
  entry = bpf_map_lookup_elem(&authorized, &tuple);
  if (entry && entry->seen == mark_of(&tuple)) return true;
  state->reason = HADAL_REASON_DESTINATION_NOT_SEEN;
  count_for_pod(state->pod_index, HADAL_REASON_DESTINATION_NOT_SEEN);
  bring_back(ctx, sk);
  let_end(ctx);
  return false;
}

/*
 * Copies what its entry told and takes it out. Its address may be another pod's by now, which connects by the
 * same tuple: that entry is not ours. 0: one of the two has left the mesh.
 */
static __always_inline void end_direct(struct socket_state* state, const struct ends* ends,
                                       struct hadal_authorization* copy) {
  const struct hadal_authorization* entry;
  struct hadal_tuple tuple;

  client_tuple(ends, &tuple);
  entry = bpf_map_lookup_elem(&authorized, &tuple);
  if (!entry || (entry->source_pod_index != state->pod_index && entry->source_pod_index != 0)) return;
  *copy = *entry;
  if (!state->end_reason) state->end_reason = copy->end_reason;
  bpf_map_delete_elem(&authorized, &tuple);
}

#endif
