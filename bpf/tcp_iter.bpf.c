// SPDX-License-Identifier: GPL-2.0
/* Walks the TCP sockets of the network namespace in which the iterator was opened. */
#include "lib/flows.h"
#include "lib/pods.h"
#include "lib/turbo_bytes.h"
#include "lib/virtual_interfaces.h" /* so that its maps are among those that are shared */

HADAL_KEEP_TYPE(struct, hadal_socket_record);
/* The kernel keeps no BTF of sock maps. */
HADAL_KEEP_TYPE(struct, hadal_listener_key);
HADAL_KEEP_TYPE(struct, hadal_resolver_key);

static __always_inline void read_local(const struct sock_common* skc, struct hadal_address* local,
                                       struct hadal_address* remote) {
  if (skc->skc_family == AF_INET) {
    *local = address_from_ipv4(skc->skc_rcv_saddr);
    *remote = address_from_ipv4(skc->skc_daddr);
    return;
  }
  local->words[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
  local->words[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
  local->words[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
  local->words[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
  remote->words[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
  remote->words[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
  remote->words[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
  remote->words[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
}

/* Connections that live on and that no tunnel carries; brings their counters up to date. */
SEC("iter/tcp")
int hadal_live_flows(struct bpf_iter__tcp* ctx) {
  struct sock_common* skc = ctx->sk_common;
  struct hadal_untouched_counters* counters;
  struct hadal_flow flow = {};
  struct socket_state* state;
  struct tcp_sock* tcp;

  if (!skc) return 0;
  tcp = bpf_skc_to_tcp_sock(skc);
  if (!tcp) return 0;
  state = bpf_sk_storage_get(&socket_states, tcp, NULL, 0);
  if (!state || (state->role != ROLE_UNTOUCHED && state->role != ROLE_DIRECT)) return 0;
  /* A direct one is told from its SYN on: it has its way already, and may lose it. */
  if (!state->established && state->role != ROLE_DIRECT) return 0;

  if (state->has_turbo) {
    const struct turbo_seat* seat = bpf_sk_storage_get(&turbo_seats, tcp, NULL, 0);
    if (seat) turbo_read_bytes(seat, bpf_get_socket_cookie(skc), state);
  }
  describe_flow(&flow, state, tcp, bpf_ktime_get_ns());
  counters = untouched_counters_of(state);
  if (counters) count_bytes(state, counters, flow.bytes_sent, flow.bytes_received);
  flow.cookie = bpf_get_socket_cookie(skc);
  read_local(skc, &flow.local_address, &flow.remote_address);
  flow.local_port = skc->skc_num;
  flow.remote_port = bpf_ntohs(skc->skc_dport);
  flow.kind = HADAL_FLOW_LIVE;
  bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow));
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
