// SPDX-License-Identifier: GPL-2.0
/* Walks the TCP sockets of the network namespace in which the iterator was opened. */
#include "lib/accepted.h"
#include "lib/flows.h"
#include "lib/iterated.h"
#include "lib/pods.h"
#include "lib/turbo_bytes.h"
#include "lib/virtual_interfaces.h" /* so that its maps are among those that are shared */

HADAL_KEEP_TYPE(struct, hadal_socket_record);
/* The kernel keeps no BTF of sock maps. */
HADAL_KEEP_TYPE(struct, hadal_listener_key);
HADAL_KEEP_TYPE(struct, hadal_resolver_key);

static __always_inline void read_past_tcp(struct sock_common* skc, struct tcp_sock* tcp,
                                          struct socket_state* state) {
  const struct turbo_seat* seat;
  if (!state->has_turbo) return;
  seat = bpf_sk_storage_get(&turbo_seats, tcp, NULL, 0);
  if (seat) turbo_read_bytes(seat, bpf_get_socket_cookie(skc), state);
}

/* The destination's end of a direct connection; false when its client's socket has ended, and told of both.
 * Whose source left the mesh is told without it. */
static __always_inline bool read_accepted(struct sock_common* skc, struct tcp_sock* tcp,
                                          struct socket_state* joined, struct socket_state* state) {
  const struct hadal_authorization* entry;
  __u64 netns_cookie = skc->skc_net.net->net_cookie;
  const struct hadal_pod* pod = bpf_map_lookup_elem(&pods, &netns_cookie);
  struct hadal_tuple tuple;

  if (!pod) return false;
  tuple_of_accepted(skc, &tuple);
  entry = accepted_entry(&tuple, bpf_get_socket_cookie(skc));
  if (!entry) return false;
  state->role = ROLE_DIRECT;
  state->direction = HADAL_FLOW_INBOUND;
  state->reason = HADAL_REASON_AUTHORIZED;
  state->established = 1;
  state->pod_index = pod->pod_index;
  state->opened_ns = entry->opened_ns;
  state->peer_pod_index = entry->source_pod_index;
  state->edge = entry->inbound_edge;
  state->end_reason = entry->end_reason;
  if (joined) {
    read_past_tcp(skc, tcp, joined);
    state->sent_past_tcp = joined->sent_past_tcp;
    state->received_past_tcp = joined->received_past_tcp;
  }
  return true;
}

static __always_inline bool is_accepted_direct(struct sock_common* skc, struct tcp_sock* tcp,
                                               const struct socket_state* state) {
  struct hadal_tuple tuple;

  if (!may_be_accepted(tcp, state)) return false;
  tuple_of_accepted(skc, &tuple);
  return accepted_entry(&tuple, bpf_get_socket_cookie(skc)) || has_heard_the_end(skc);
}

static __always_inline struct hadal_untouched_counters* live_peer_counters(struct sock_common* skc,
                                                                           const struct socket_state* state) {
  const struct hadal_authorization* entry;
  struct hadal_tuple tuple;

  if (state->role != ROLE_DIRECT) return NULL;
  tuple_of_client(skc, &tuple);
  entry = bpf_map_lookup_elem(&authorized, &tuple);
  return entry ? peer_counters_of(state, entry) : NULL;
}

static __always_inline void tell_live(struct bpf_iter__tcp* ctx, struct sock_common* skc,
                                      struct tcp_sock* tcp, const struct socket_state* state,
                                      struct hadal_flow* flow) {
  describe_flow(flow, state, tcp, bpf_ktime_get_ns());
  flow->cookie = bpf_get_socket_cookie(skc);
  read_local(skc, &flow->local_address, &flow->remote_address);
  flow->local_port = skc->skc_num;
  flow->remote_port = bpf_ntohs(skc->skc_dport);
  flow->kind = HADAL_FLOW_LIVE;
  bpf_seq_write(ctx->meta->seq, flow, sizeof(*flow));
}

/* Connections that live on and that no tunnel carries; brings their counters up to date. */
SEC("iter/tcp")
int hadal_live_flows(struct bpf_iter__tcp* ctx) {
  struct sock_common* skc = ctx->sk_common;
  struct hadal_flow flow = {};
  struct socket_state* state;
  struct tcp_sock* tcp;

  if (!skc) return 0;
  tcp = bpf_skc_to_tcp_sock(skc);
  if (!tcp || skc->skc_state == BPF_TCP_LISTEN || skc->skc_state == BPF_TCP_CLOSE) return 0;
  state = bpf_sk_storage_get(&socket_states, tcp, NULL, 0);
  if (may_be_accepted(tcp, state)) {
    struct socket_state accepted = {};
    if (read_accepted(skc, tcp, state, &accepted)) tell_live(ctx, skc, tcp, &accepted, &flow);
    return 0;
  }
  if (!state || (state->role != ROLE_UNTOUCHED && state->role != ROLE_DIRECT)) return 0;
  /* A direct one is told from its SYN on: it has its way already, and may lose it. */
  if (!state->established && state->role != ROLE_DIRECT) return 0;

  read_past_tcp(skc, tcp, state);
  tell_live(ctx, skc, tcp, state, &flow);
  count_bytes(state, untouched_counters_of(state), live_peer_counters(skc, state), flow.bytes_sent,
              flow.bytes_received);
  return 0;
}

/* Every connection, with what the capture knows of it: what it does not know is older than the enrolment. */
SEC("iter/tcp")
int hadal_tcp_sockets(struct bpf_iter__tcp* ctx) {
  struct sock_common* skc = ctx->sk_common;
  struct hadal_socket_record record = {};
  const struct socket_state* state;
  struct tcp_sock* tcp;

  if (!skc) return 0;
  tcp = bpf_skc_to_tcp_sock(skc);
  if (!tcp || skc->skc_state == BPF_TCP_LISTEN || skc->skc_state == BPF_TCP_CLOSE) return 0;
  state = bpf_sk_storage_get(&socket_states, tcp, NULL, 0);
  if (state && state->role != ROLE_NONE) record.flags |= HADAL_SOCKET_TRACKED;
  if (state && state->role == ROLE_DIRECT) record.flags |= HADAL_SOCKET_DIRECT;
  if (is_accepted_direct(skc, tcp, state)) record.flags |= HADAL_SOCKET_TRACKED | HADAL_SOCKET_DIRECT;
  if (bpf_sk_storage_get(&exempt, tcp, NULL, 0)) record.flags |= HADAL_SOCKET_EXEMPT;
  record.mark = tcp->inet_conn.icsk_inet.sk.sk_mark;
  if ((record.mark & HADAL_MARK_MASK) == HADAL_MARK) record.flags |= HADAL_SOCKET_CAPTURED;
  record.cookie = bpf_get_socket_cookie(skc);
  read_local(skc, &record.local_address, &record.remote_address);
  record.local_port = skc->skc_num;
  record.remote_port = bpf_ntohs(skc->skc_dport);
  record.state = skc->skc_state;
  bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
