/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections of enrolled pods that no tunnel carries: left alone, or direct. Nobody else reports them. What
 * a captured one carried is the tunnel's to report. Bytes are payload only, each counted once.
 */
#ifndef HADAL_LIB_FLOWS_H
#define HADAL_LIB_FLOWS_H

#include "lib/address.h"
#include "lib/kernel.h"
#include "lib/sockets.h"
#include "lib/untouched.h"

HADAL_KEEP_TYPE(struct, hadal_flow);

static __always_inline struct hadal_untouched_counters* untouched_counters_of(
    const struct socket_state* state) {
  return untouched_counters(state->pod_index, state->edge, state->reason, state->direction);
}

/* bytes_acked would count SYN and FIN, bytes_received counts a FIN: these do not. */
static __always_inline __u64 payload_sent(const struct tcp_sock* tcp, const struct socket_state* state) {
  return tcp->bytes_sent - tcp->bytes_retrans + state->sent_past_tcp;
}

static __always_inline __u64 payload_received(const struct tcp_sock* tcp, const struct socket_state* state) {
  __u64 received = tcp->bytes_received;
  bool fin = (tcp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> SOCK_DONE) & 1;
  return (fin && received > 0 ? received - 1 : received) + state->received_past_tcp;
}

/* A direct connection is counted for both pods by its client's socket: what its destination accepts is left
 * without memory of its own, which would cost each connection more than all that is counted of it. */
static __always_inline struct hadal_untouched_counters* counters_at_peer(const struct socket_state* state) {
  return untouched_counters(state->peer_pod_index, state->inbound_edge, HADAL_REASON_AUTHORIZED,
                            HADAL_FLOW_INBOUND);
}

/* Nobody would take out what is counted for a pod that has left. */
static __always_inline bool names_peer(const struct hadal_authorization* entry,
                                       const struct socket_state* state) {
  return entry->destination_pod_index == state->peer_pod_index;
}

static __always_inline struct hadal_untouched_counters* peer_counters_of(
    const struct socket_state* state, const struct hadal_authorization* entry) {
  return state->established && names_peer(entry, state) ? counters_at_peer(state) : NULL;
}

static __always_inline void count_opened(const struct socket_state* state) {
  struct hadal_untouched_counters* own = untouched_counters_of(state);
  if (own) add_to(&own->opened, 1);
}

static __always_inline void count_opened_at_peer(const struct socket_state* state) {
  struct hadal_untouched_counters* peer = counters_at_peer(state);
  if (peer) add_to(&peer->opened, 1);
}

/* Adds what a connection carried since the last time; its socket is locked in every caller. */
static __always_inline void count_bytes(struct socket_state* state, struct hadal_untouched_counters* own,
                                        struct hadal_untouched_counters* peer, __u64 sent, __u64 received) {
  __u64 more_sent = sent > state->counted_sent ? sent - state->counted_sent : 0;
  __u64 more_received = received > state->counted_received ? received - state->counted_received : 0;
  bool is_client = state->direction == HADAL_FLOW_OUTBOUND;

  state->counted_sent += more_sent;
  state->counted_received += more_received;
  if (own) {
    add_to(&own->bytes_sent, is_client ? more_sent : more_received);
    add_to(&own->bytes_received, is_client ? more_received : more_sent);
  }
  if (peer) {
    add_to(&peer->bytes_sent, more_sent);
    add_to(&peer->bytes_received, more_received);
  }
}

static __always_inline void describe_flow(struct hadal_flow* flow, const struct socket_state* state,
                                          const struct tcp_sock* tcp, __u64 now) {
  flow->opened_ns = state->opened_ns;
  flow->duration_ns = now - state->opened_ns;
  flow->bytes_sent = payload_sent(tcp, state);
  flow->bytes_received = payload_received(tcp, state);
  flow->pod_index = state->pod_index;
  flow->edge = state->edge;
  flow->rtt_us = tcp->srtt_us >> 3;
  flow->retransmits = tcp->total_retrans;
  /* Counters go by `reason` from first to last; a record says why the connection ended. */
  flow->reason = state->end_reason ? state->end_reason : state->reason;
  flow->direction = state->direction;
  flow->established = state->established;
  if (state->role != ROLE_DIRECT) return;
  flow->direct = 1;
  flow->peer_pod_index = state->peer_pod_index;
  flow->asked_address = state->asked;
  flow->asked_port = state->asked_port;
}

/* What the client's socket told, as the destination of a direct connection tells it. Round trip and
 * retransmits are the client's. */
static __always_inline void mirror_flow(struct hadal_flow* flow, const struct socket_state* state) {
  __u64 sent = flow->bytes_sent;

  flow->bytes_sent = flow->bytes_received;
  flow->bytes_received = sent;
  flow->pod_index = state->peer_pod_index;
  flow->peer_pod_index = state->pod_index;
  flow->edge = state->inbound_edge;
  flow->reason = state->end_reason ? state->end_reason : HADAL_REASON_AUTHORIZED;
  flow->direction = HADAL_FLOW_INBOUND;
  __builtin_memset(&flow->asked_address, 0, sizeof(flow->asked_address));
  flow->asked_port = 0;
}

#endif
