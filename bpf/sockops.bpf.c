// SPDX-License-Identifier: GPL-2.0
/*
 * The life of TCP sockets: tuples of the kubelet's probes and of direct connections stand while they live,
 * and connections of enrolled pods that no tunnel carries are reported when they end. Runs for every TCP
 * socket below the node's cgroup, so it leaves early.
 */
#include "lib/accepted.h"
#include "lib/direct_life.h"
#include "lib/exclusions.h"
#include "lib/flow_reports.h"
#include "lib/pods.h"
#include "lib/rows.h"
#include "lib/tuples.h"
#include "lib/turbo_join.h"

static __always_inline void hear_of_states(struct bpf_sock_ops* ctx) {
  bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* Captured connections come back by a local route. When the rule or route was flushed this SYN is on its way
 * out of the pod; egress.bpf.c stops it. */
static __always_inline bool route_leaves_pod(const struct tcp_sock* tcp) {
  const struct dst_entry* route = tcp->inet_conn.icsk_inet.sk.sk_dst_cache;
  const struct net_device* device;
  if (!route) return false;
  device = route->dev;
  return device && device->ifindex != LOOPBACK_IFINDEX;
}

static __always_inline void start_tracking(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                           const struct hadal_pod* pod, __u8 direction, __u32 reason,
                                           __u32 edge, bool established) {
  struct socket_state* state;

  if (!take_flow_slot(pod->pod_index, pod->flow_limit)) {
    count_fault(HADAL_FAULT_FLOW_SLOTS_FULL);
    return;
  }
  state = bpf_sk_storage_get(&socket_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (!state) {
    return_flow_slot(pod->pod_index);
    count_fault(HADAL_FAULT_FLOW_NOT_STORED);
    return;
  }
  state->opened_ns = bpf_ktime_get_ns();
  state->counted_sent = 0;
  state->counted_received = 0;
  state->pod_index = pod->pod_index;
  state->edge = edge;
  state->reason = reason;
  state->role = ROLE_UNTOUCHED;
  state->direction = direction;
  state->established = established;
  if (established) count_opened(state);
  hear_of_states(ctx);
}

/* The client's end of a direct connection, as it becomes ESTABLISHED. */
static __always_inline void join_client(struct bpf_sock_ops* ctx, struct bpf_sock* sk) {
  struct socket_state* state = bpf_sk_storage_get(&socket_states, sk, NULL, 0);
  struct hadal_tuple tuple;
  struct ends ends;

  if (!state || state->role != ROLE_DIRECT || !state->established) return;
  read_ends(ctx, &ends);
  client_tuple(&ends, &tuple);
  state->has_turbo = turbo_join_client(ctx, sk, &tuple, state->pod_index, state->peer_pod_index);
}

/* The destination's, which is remembered only to leave in order. */
static __always_inline void join_server(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                        const struct hadal_tuple* tuple, __u32 pod_index) {
  struct socket_state* state;

  if (!bpf_map_lookup_elem(&turbo_pairs, tuple)) return;
  state = bpf_sk_storage_get(&socket_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (!state || !turbo_join_server(ctx, sk, tuple, pod_index)) return;
  state->role = ROLE_JOINED;
  state->has_turbo = 1;
  hear_of_states(ctx);
}

static __always_inline void leave_turbo(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                        struct socket_state* state) {
  const struct turbo_seat* seat;
  __u64 cookie;

  if (!state->has_turbo) return;
  seat = bpf_sk_storage_get(&turbo_seats, sk, NULL, 0);
  if (!seat) return;
  cookie = bpf_get_socket_cookie(ctx);
  turbo_read_bytes(seat, cookie, state);
  turbo_leave(seat, cookie);
}

static __always_inline void on_slipped(struct bpf_sock_ops* ctx, const struct hadal_pod* pod,
                                       const struct tcp_sock* tcp, const struct ends* ends) {
  struct socket_state state = {
      .opened_ns = bpf_ktime_get_ns(),
      .pod_index = pod->pod_index,
      .reason = HADAL_REASON_SLIPPED_THROUGH,
      .direction = HADAL_FLOW_OUTBOUND,
  };
  count_for_pod(pod->pod_index, HADAL_REASON_SLIPPED_THROUGH);
  write_flow(ctx, &state, tcp, ends, state.opened_ns, HADAL_FLOW_SLIPPED);
}

static __always_inline void accept_direct(struct bpf_sock_ops* ctx, struct hadal_authorization* entry) {
  entry->accepted_cookie = bpf_get_socket_cookie(ctx);
  bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | ACCEPTED_DIRECT);
}

/* An accepted socket may be dissolved, connect somewhere or listen; what a listener accepts inherits the
 * flag. */
static __always_inline void forget_accepted(struct bpf_sock_ops* ctx) {
  __u32 flags = ctx->bpf_sock_ops_cb_flags;
  if (flags & ACCEPTED_DIRECT) bpf_sock_ops_cb_flags_set(ctx, flags & ~ACCEPTED_DIRECT);
}

/* Before the SYN leaves, with the source port known. */
static __always_inline void on_connect(struct bpf_sock_ops* ctx, struct bpf_sock* sk) {
  struct socket_state* state = bpf_sk_storage_get(&socket_states, sk, NULL, 0);
  const struct hadal_pod* pod;
  struct ends ends;
  __u64 cookie;
  __u32 edge;
  bool known;

  if (state && state->role == ROLE_CHOSEN) {
    if (begin_direct(ctx, sk, state)) hear_of_states(ctx);
    return;
  }
  if (state && state->role == ROLE_KUBELET) {
    struct hadal_tuple tuple;
    __u32 present = 1;
    read_ends(ctx, &ends);
    client_tuple(&ends, &tuple);
    if (bpf_map_update_elem(&kubelet_tuples, &tuple, &present, BPF_ANY) != 0)
      count_fault(HADAL_FAULT_KUBELET_NOT_STORED);
    hear_of_states(ctx);
    return;
  }
  cookie = bpf_get_netns_cookie(ctx);
  pod = bpf_map_lookup_elem(&pods, &cookie);
  if (!pod || bpf_sk_storage_get(&exempt, sk, NULL, 0)) return;
  forget_accepted(ctx);
  read_ends(ctx, &ends);
  if ((sk->mark & HADAL_MARK_MASK) == HADAL_MARK) {
    const struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
    if (tcp && route_leaves_pod(tcp)) on_slipped(ctx, pod, tcp, &ends);
    return;
  }
  if (!(pod->flags & HADAL_POD_TRACK_FLOWS)) return;
  if (address_is_local_only(&ends.remote) || pod_owns(pod->pod_index, &ends.remote)) return;
  if (excludes_outbound(pod, &ends.remote, ends.remote_port)) {
    start_tracking(ctx, sk, pod, HADAL_FLOW_OUTBOUND, HADAL_REASON_EXCLUDED_OUTBOUND, 0, false);
    return;
  }
  known = find_edge(pod->pod_index, &ends.remote, ends.remote_port, &edge);
  start_tracking(ctx, sk, pod, HADAL_FLOW_OUTBOUND,
                 known ? HADAL_REASON_ROW_UNTOUCHED : HADAL_REASON_OUTSIDE_MESH, edge, false);
}

/* A socket that connects and is answered by a SYN without ACK (simultaneous open) comes here too. It is known
 * since its own SYN, and on_state goes on with it. */
static __always_inline bool has_begun(struct bpf_sock* sk) {
  const struct socket_state* state = bpf_sk_storage_get(&socket_states, sk, NULL, 0);
  return state && state->role != ROLE_NONE;
}

/* The application accepted what its sk_lookup let through. What the agent delivers carries the mark
 * (fwmark_accept). */
static __always_inline void on_accept(struct bpf_sock_ops* ctx, struct bpf_sock* sk) {
  __u64 cookie = bpf_get_netns_cookie(ctx);
  const struct hadal_pod* pod = bpf_map_lookup_elem(&pods, &cookie);
  struct hadal_authorization* direct;
  struct hadal_tuple tuple;
  struct ends ends;
  __u32 reason;

  if (!pod || (sk->mark & HADAL_MARK_MASK) == HADAL_MARK) return;
  forget_accepted(ctx);
  if (has_begun(sk)) return;
  read_ends(ctx, &ends);
  server_tuple(&ends, &tuple);
  direct = bpf_map_lookup_elem(&authorized, &tuple);
  if (direct && direct->destination_pod_index == pod->pod_index) {
    accept_direct(ctx, direct);
    if (turbo_is_on()) join_server(ctx, sk, &tuple, pod->pod_index);
    return;
  }
  if (!(pod->flags & HADAL_POD_TRACK_FLOWS) || bpf_sk_storage_get(&exempt, sk, NULL, 0)) return;
  if (address_is_local_only(&ends.remote) || pod_owns(pod->pod_index, &ends.remote)) return;
  if (bpf_map_lookup_elem(&kubelet_tuples, &tuple))
    reason = HADAL_REASON_KUBELET;
  else if (pod->flags & HADAL_POD_BYPASS_INBOUND)
    reason = HADAL_REASON_INBOUND_BYPASSED;
  else if (excludes_inbound(pod->pod_index, pod->flags, ends.local_port))
    reason = HADAL_REASON_EXCLUDED_INBOUND;
  else
    reason = HADAL_REASON_NONE;
  start_tracking(ctx, sk, pod, HADAL_FLOW_INBOUND, reason, 0, true);
}

/* A pod that has left has no budget; what it had open is not many. */
static __always_inline void report_mirrored(const struct socket_state* state, const struct tcp_sock* tcp,
                                            const struct ends* ends, __u64 now,
                                            const struct hadal_authorization* entry) {
  if (!entry->accepted_cookie) return;
  if (names_peer(entry, state) && !may_report(budget_of(state->peer_pod_index), now))
    count_fault(HADAL_FAULT_FLOW_RATE);
  else
    write_mirrored_flow(state, tcp, ends, now, entry->accepted_cookie);
}

static __always_inline void on_closed(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                      struct socket_state* state) {
  const struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sk);
  struct hadal_untouched_counters* own = untouched_counters_of(state);
  struct hadal_untouched_counters* peer = NULL;
  struct hadal_authorization entry = {};
  __u64 now = bpf_ktime_get_ns();
  struct ends ends;

  read_ends(ctx, &ends);
  if (state->role == ROLE_DIRECT) {
    end_direct(state, &ends, &entry);
    peer = peer_counters_of(state, &entry);
  }
  leave_turbo(ctx, sk, state);
  if (tcp) count_bytes(state, own, peer, payload_sent(tcp, state), payload_received(tcp, state));
  if (own) add_to(state->established ? &own->closed : &own->failed, 1);
  if (peer) add_to(&peer->closed, 1);
  if (tcp && state->role == ROLE_DIRECT) report_mirrored(state, tcp, &ends, now, &entry);
  if (!may_report(return_flow_slot(state->pod_index), now))
    count_fault(HADAL_FAULT_FLOW_RATE);
  else if (tcp)
    write_flow(ctx, state, tcp, &ends, now, HADAL_FLOW_CLOSED);
}

static __always_inline void on_state(struct bpf_sock_ops* ctx, struct bpf_sock* sk) {
  struct socket_state* state = bpf_sk_storage_get(&socket_states, sk, NULL, 0);
  __u32 next = ctx->args[1];

  if (!state || state->role == ROLE_NONE) return;
  if (state->role == ROLE_KUBELET) {
    struct hadal_tuple tuple;
    struct ends ends;
    if (next != BPF_TCP_CLOSE) return;
    read_ends(ctx, &ends);
    client_tuple(&ends, &tuple);
    bpf_map_delete_elem(&kubelet_tuples, &tuple);
    /* The socket may connect again, from another process. */
    forget_socket(state);
  } else if (state->role == ROLE_CHOSEN) {
    /* Captured after all, and heard of only because it went directly before: it has no slot, no tuple. */
    if (next == BPF_TCP_CLOSE) forget_socket(state);
  } else if (state->role == ROLE_JOINED) {
    if (next != BPF_TCP_CLOSE) return;
    leave_turbo(ctx, sk, state);
    forget_socket(state);
  } else if (next == BPF_TCP_ESTABLISHED && !state->established) {
    if (state->role == ROLE_DIRECT && !destination_is_seen(ctx, sk, state)) return;
    state->established = 1;
    count_opened(state);
    if (state->role == ROLE_DIRECT) count_opened_at_peer(state);
  } else if (next == BPF_TCP_CLOSE) {
    on_closed(ctx, sk, state);
    forget_socket(state);
  }
}

SEC("sockops")
int hadal_sockops(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  if (!sk) return 1;
  switch (ctx->op) {
    case BPF_SOCK_OPS_TCP_CONNECT_CB:
      on_connect(ctx, sk);
      break;
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
      if (turbo_is_on()) join_client(ctx, sk);
      break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
      on_accept(ctx, sk);
      break;
    case BPF_SOCK_OPS_STATE_CB:
      on_state(ctx, sk);
      break;
  }
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
