/* SPDX-License-Identifier: GPL-2.0 */
/* What sockops tells of untouched connections, and how much one pod may tell. */
#ifndef HADAL_LIB_FLOW_REPORTS_H
#define HADAL_LIB_FLOW_REPORTS_H

#include "lib/flows.h"
#include "lib/tuples.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, struct hadal_pod_budget);
} pod_budgets SEC(".maps");

struct ends {
  struct hadal_address local;
  struct hadal_address remote;
  __u16 local_port;
  __u16 remote_port;
};

static __always_inline void read_ends(struct bpf_sock_ops* ctx, struct ends* ends) {
  if (ctx->family == AF_INET) {
    ends->local = address_from_ipv4(ctx->local_ip4);
    ends->remote = address_from_ipv4(ctx->remote_ip4);
  } else {
    ends->local.words[0] = ctx->local_ip6[0];
    ends->local.words[1] = ctx->local_ip6[1];
    ends->local.words[2] = ctx->local_ip6[2];
    ends->local.words[3] = ctx->local_ip6[3];
    ends->remote.words[0] = ctx->remote_ip6[0];
    ends->remote.words[1] = ctx->remote_ip6[1];
    ends->remote.words[2] = ctx->remote_ip6[2];
    ends->remote.words[3] = ctx->remote_ip6[3];
    /* Else clang merges the last load of both branches into one of a computed offset, which the verifier
     * refuses. */
    asm volatile("");
  }
  ends->local_port = ctx->local_port;
  ends->remote_port = bpf_ntohl(ctx->remote_port);
}

static __always_inline void client_tuple(const struct ends* ends, struct hadal_tuple* tuple) {
  tuple->client = ends->local;
  tuple->server = ends->remote;
  tuple->client_port = ends->local_port;
  tuple->server_port = ends->remote_port;
}

static __always_inline void server_tuple(const struct ends* ends, struct hadal_tuple* tuple) {
  tuple->client = ends->remote;
  tuple->server = ends->local;
  tuple->client_port = ends->remote_port;
  tuple->server_port = ends->local_port;
}

/* NULL: counted as lost. */
static __always_inline struct hadal_flow* begin_record(const struct socket_state* state,
                                                       const struct tcp_sock* tcp, __u64 now) {
  struct hadal_flow* flow = bpf_ringbuf_reserve(&flows, sizeof(*flow), 0);
  if (!flow) {
    count_fault(HADAL_FAULT_FLOWS_LOST);
    return NULL;
  }
  __builtin_memset(flow, 0, sizeof(*flow));
  describe_flow(flow, state, tcp, now);
  return flow;
}

static __always_inline void write_flow(struct bpf_sock_ops* ctx, const struct socket_state* state,
                                       const struct tcp_sock* tcp, const struct ends* ends, __u64 now,
                                       __u8 kind) {
  struct hadal_flow* flow = begin_record(state, tcp, now);
  if (!flow) return;
  flow->cookie = bpf_get_socket_cookie(ctx);
  flow->local_address = ends->local;
  flow->remote_address = ends->remote;
  flow->local_port = ends->local_port;
  flow->remote_port = ends->remote_port;
  flow->kind = kind;
  bpf_ringbuf_submit(flow, 0);
}

/* The same connection as its destination tells it. */
static __always_inline void write_mirrored_flow(const struct socket_state* state, const struct tcp_sock* tcp,
                                                const struct ends* ends, __u64 now, __u64 accepted_cookie) {
  struct hadal_flow* flow = begin_record(state, tcp, now);
  if (!flow) return;
  mirror_flow(flow, state);
  flow->cookie = accepted_cookie;
  flow->local_address = ends->remote;
  flow->remote_address = ends->local;
  flow->local_port = ends->remote_port;
  flow->remote_port = ends->local_port;
  flow->kind = HADAL_FLOW_CLOSED;
  bpf_ringbuf_submit(flow, 0);
}

static __always_inline struct hadal_pod_budget* budget_of(__u32 pod_index) {
  struct hadal_pod_budget* budget = bpf_map_lookup_elem(&pod_budgets, &pod_index);
  if (!budget) {
    struct hadal_pod_budget zero = {};
    bpf_map_update_elem(&pod_budgets, &pod_index, &zero, BPF_NOEXIST);
    budget = bpf_map_lookup_elem(&pod_budgets, &pod_index);
  }
  return budget;
}

/* One pod's connections must not push another's out of the shared memory. */
static __always_inline bool take_flow_slot(__u32 pod_index, __u32 flow_limit) {
  struct hadal_pod_budget* budget = budget_of(pod_index);
  if (!budget) return false;
  /* Signed: connections of a pod that had this index before may end after its budget began anew. */
  if ((__s64)budget->flows_tracked >= (__s64)flow_limit) return false;
  __sync_fetch_and_add(&budget->flows_tracked, 1);
  return true;
}

static __always_inline struct hadal_pod_budget* return_flow_slot(__u32 pod_index) {
  struct hadal_pod_budget* budget = bpf_map_lookup_elem(&pod_budgets, &pod_index);
  if (budget && budget->flows_tracked > 0) __sync_fetch_and_add(&budget->flows_tracked, -1);
  return budget;
}

/* False when the pod has reported enough for this second. */
static __always_inline bool may_report(struct hadal_pod_budget* budget, __u64 now) {
  if (!budget) return true;
  if (now - budget->window_ns > 1000000000ull) {
    budget->window_ns = now;
    budget->window_records = 0;
  }
  budget->window_records += 1; /* two CPUs may lose one: a bound, not a count */
  return budget->window_records <= HADAL_FLOW_RECORDS_PER_SECOND;
}

#endif
