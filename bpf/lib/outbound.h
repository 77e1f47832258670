/* SPDX-License-Identifier: GPL-2.0 */
/*
 * connect() of a process: leave it alone, mark its socket for capture, or refuse. The rules stand in this
 * order in the design; every way out is counted. What cannot be marked is refused: in clear it must not go.
 */
#ifndef HADAL_LIB_OUTBOUND_H
#define HADAL_LIB_OUTBOUND_H

#include "lib/address.h"
#include "lib/counters.h"
#include "lib/direct.h"
#include "lib/dns.h"
#include "lib/exclusions.h"
#include "lib/kernel.h"
#include "lib/listeners.h"
#include "lib/pods.h"
#include "lib/rows.h"
#include "lib/sockets.h"
#include "lib/untouched.h"

#define ALLOW 1
#define REFUSE 0
#define EPERM 1
#define EACCES 13
#define EADDRNOTAVAIL 99
#define ECONNREFUSED 111
#define MAX_ERRNO 4095

/* bpf_set_retval in connect hooks: 6.1. Without it every refusal is EPERM. */
const volatile bool can_set_error = false;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct hadal_kubelet);
} kubelet SEC(".maps");

static __always_inline int refuse(__u32 pod_index, __u32 reason, __u32 error) {
  count_for_pod(pod_index, reason);
  if (can_set_error && error != 0 && error <= MAX_ERRNO) bpf_set_retval(-(int)error);
  return REFUSE;
}

/* A socket that was captured before and now goes elsewhere (connect again after AF_UNSPEC) must lose the
 * mark. */
static __always_inline int leave_alone(struct bpf_sock_addr* ctx, struct bpf_sock* sk, __u32 pod_index,
                                       __u32 reason) {
  if ((sk->mark & HADAL_MARK_MASK) == HADAL_MARK) {
    __u32 mark = sk->mark & ~HADAL_MARK_MASK;
    bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
  }
  count_for_pod(pod_index, reason);
  return ALLOW;
}

/*
 * A socket bound to an address that is not the pod's (IPV6_FREEBIND, bind to 127.0.0.1): the agent would
 * speak for somebody else, and even a refusal in the lookup would answer that somebody, through eth0.
 */
static __always_inline bool source_is_foreign(struct bpf_sock* sk, __u32 pod_index) {
  struct hadal_address source;

  if (sk->family == AF_INET) {
    if (sk->src_ip4 == 0) return false;
    source = address_from_ipv4(sk->src_ip4);
  } else {
    source.words[0] = sk->src_ip6[0];
    source.words[1] = sk->src_ip6[1];
    source.words[2] = sk->src_ip6[2];
    source.words[3] = sk->src_ip6[3];
    /* See sk_lookup.bpf.c. */
    asm volatile("");
    if (address_is_unspecified(&source)) return false;
  }
  return !pod_owns(pod_index, &source);
}

static __always_inline int capture(struct bpf_sock_addr* ctx, struct bpf_sock* sk,
                                   const struct hadal_pod* pod) {
  __u32 pod_index = pod->pod_index;
  __u32 mark = (sk->mark & ~HADAL_MARK_MASK) | HADAL_MARK;

  /* The lookup would drop its SYN, and over IPv4 no RST tells: connect() would hang until it times out. */
  if (!has_listener(pod_index, HADAL_LISTENER_OUTBOUND, pod->worker_count))
    return refuse(pod_index, HADAL_REASON_NO_LISTENER, ECONNREFUSED);
  if (source_is_foreign(sk, pod_index))
    return refuse(pod_index, HADAL_REASON_SOURCE_NOT_REGISTERED, EADDRNOTAVAIL);
  if (bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0)
    return refuse(pod_index, HADAL_REASON_MARK_FAILED, EPERM);
  count_for_pod(pod_index, HADAL_REASON_MARKED);
  return ALLOW;
}

/* A connect hook knows no source port: the socket is remembered here, its tuple written by sockops before the
 * SYN. */
static __always_inline void note_kubelet(struct bpf_sock* sk, __u64 netns_cookie) {
  __u32 zero = 0;
  const struct hadal_kubelet* known = bpf_map_lookup_elem(&kubelet, &zero);
  struct socket_state* state;

  if (!known || known->host_netns_cookie == 0 || known->host_netns_cookie != netns_cookie) return;
  if (known->flags & HADAL_KUBELET_BY_CGROUP) {
    if (bpf_get_current_ancestor_cgroup_id(known->cgroup_level) != known->cgroup_id) return;
  } else if (!(known->flags & HADAL_KUBELET_ANY_HOST)) {
    return;
  }
  state = bpf_sk_storage_get(&socket_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (state)
    state->role = ROLE_KUBELET;
  else
    count_fault(HADAL_FAULT_KUBELET_NOT_STORED);
}

static __always_inline int refuse_by_row(__u32 pod_index, const struct hadal_row* row) {
  __u32 reason = row->reason ? row->reason : HADAL_REASON_ROW_REFUSED;
  struct hadal_untouched_counters* counters =
      untouched_counters(pod_index, row->edge, reason, HADAL_FLOW_OUTBOUND);
  if (counters) add_to(&counters->failed, 1);
  return refuse(pod_index, reason, row->error);
}

/* Outside of mesh and ranges. The refusal needs no agent; captured, it is refused while none runs. */
static __always_inline int decide_unknown(struct bpf_sock_addr* ctx, struct bpf_sock* sk,
                                          const struct hadal_pod* pod) {
  __u32 pod_index = pod->pod_index;
  struct hadal_untouched_counters* counters;

  if (pod->flags & HADAL_POD_ASK_UNKNOWN) return capture(ctx, sk, pod);
  if (!(pod->flags & HADAL_POD_REFUSE_UNKNOWN))
    return leave_alone(ctx, sk, pod_index, HADAL_REASON_OUTSIDE_MESH);
  counters = untouched_counters(pod_index, 0, HADAL_REASON_EGRESS_REFUSED, HADAL_FLOW_OUTBOUND);
  if (counters) add_to(&counters->failed, 1);
  return refuse(pod_index, HADAL_REASON_EGRESS_REFUSED, EACCES);
}

/* The loopback port to which this connect() goes instead, 0: none. TCP is decided below, by the same socket.
 */
static __always_inline __u16 redirect_datagram(struct bpf_sock_addr* ctx,
                                               const struct hadal_address* destination) {
  return ctx->protocol == IPPROTO_UDP && is_query(ctx) ? steer_datagram(ctx, destination) : 0;
}

/* By one of the row's targets. A foreign source is refused as by capture. */
static __always_inline int go_direct(struct bpf_sock_addr* ctx, struct bpf_sock* sk,
                                     const struct hadal_pod* pod, const struct hadal_row* row,
                                     const struct hadal_address* destination, struct chosen* chosen) {
  __u16 port = bpf_ntohs((__u16)ctx->user_port);
  __u32 reason;

  if (source_is_foreign(sk, pod->pod_index))
    return refuse(pod->pod_index, HADAL_REASON_SOURCE_NOT_REGISTERED, EADDRNOTAVAIL);
  reason = choose_direct(sk, pod, row, destination, port, chosen);
  if (chosen->port) return leave_alone(ctx, sk, pod->pod_index, HADAL_REASON_DIRECT);
  if (reason) count_for_pod(pod->pod_index, reason);
  return capture(ctx, sk, pod);
}

/*
 * `resolver`: set to the loopback port that the connection goes to instead, when it is a query. `chosen`: to
 * the pod of this node that it goes to directly.
 */
static __always_inline int decide_outbound(struct bpf_sock_addr* ctx, const struct hadal_address* destination,
                                           __u16* resolver, struct chosen* chosen) {
  struct bpf_sock* sk = ctx->sk;
  const struct hadal_pod* found;
  struct hadal_pod copied;
  const struct hadal_pod* pod = &copied;
  struct hadal_row row;
  __u32 pod_index;
  __u64 cookie;

  *resolver = redirect_datagram(ctx, destination);
  if (*resolver) return ALLOW;
  /* glibc connects UDP sockets too while it sorts addresses: they must never get the mark. */
  if (!sk || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP)) {
    count_reason(HADAL_REASON_NOT_TCP);
    return ALLOW;
  }
  cookie = bpf_get_netns_cookie(ctx);
  found = bpf_map_lookup_elem(&pods, &cookie);
  if (!found) {
    note_kubelet(sk, cookie);
    count_reason(HADAL_REASON_NOT_ENROLLED);
    return ALLOW;
  }
  /* See find_row. */
  copied = *found;
  pod_index = pod->pod_index;
  if (bpf_sk_storage_get(&exempt, sk, NULL, 0)) {
    count_for_pod(pod_index, HADAL_REASON_AGENT_SOCKET);
    return ALLOW;
  }
  forget_choice(sk);
  if (!(pod->flags & HADAL_POD_CAPTURE_OUTBOUND))
    return leave_alone(ctx, sk, pod_index, HADAL_REASON_NOT_ENROLLED);
  if (address_is_local_only(destination)) return leave_alone(ctx, sk, pod_index, HADAL_REASON_LOOPBACK);
  if (pod_owns(pod_index, destination)) return leave_alone(ctx, sk, pod_index, HADAL_REASON_OWN_ADDRESS);

  if (is_query(ctx)) {
    struct query query;
    find_resolver(sk, pod, IPPROTO_TCP, destination, &query);
    if (query.slot != NO_SLOT && is_configured(pod_index, query.slot)) {
      *resolver = query.port;
      return leave_alone(ctx, sk, pod_index,
                         query.port ? HADAL_REASON_DNS_STEERED : HADAL_REASON_DNS_RESOLVER_AWAY);
    }
  }

  if (excludes_outbound(pod, destination, bpf_ntohs((__u16)ctx->user_port)))
    return leave_alone(ctx, sk, pod_index, HADAL_REASON_EXCLUDED_OUTBOUND);

  if (find_row(pod_index, destination, bpf_ntohs((__u16)ctx->user_port), &row)) {
    if (row.verdict == HADAL_VERDICT_UNTOUCHED)
      return leave_alone(ctx, sk, pod_index, HADAL_REASON_ROW_UNTOUCHED);
    if (row.verdict == HADAL_VERDICT_REFUSE) return refuse_by_row(pod_index, &row);
    if (row.verdict == HADAL_VERDICT_DIRECT) return go_direct(ctx, sk, pod, &row, destination, chosen);
    return capture(ctx, sk, pod);
  }
  if (in_ranges(destination)) return capture(ctx, sk, pod);
  return decide_unknown(ctx, sk, pod);
}

#endif
