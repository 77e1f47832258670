// SPDX-License-Identifier: GPL-2.0
/*
 * Who gets a connection that arrives in a pod's network namespace: the application, or one of the agent's
 * three listeners there. One instance per pod, because a lookup does not know its namespace. Pinned with its
 * link: while no agent runs, what would be steered is dropped, never passed.
 */
#include "lib/address.h"
#include "lib/counters.h"
#include "lib/exclusions.h"
#include "lib/kernel.h"
#include "lib/listeners.h"
#include "lib/pods.h"
#include "lib/tuples.h"
#include "lib/virtual_interfaces.h"

const volatile __u32 pod_index = 0;
/* A lookup cannot ask for it. */
const volatile __u64 netns_cookie = 0;
const volatile __u32 worker_count = 1;
const volatile __u16 hbone_port = HADAL_HBONE_PORT;

static __always_inline int pass(__u32 reason) {
  count_for_pod(pod_index, reason);
  return SK_PASS;
}

static __always_inline int drop(__u32 reason) {
  count_for_pod(pod_index, reason);
  return SK_DROP;
}

/* The same client always meets the same worker: a SYN cookie is looked up twice, and only its listener knows
 * it. */
static __always_inline __u32 hash_client(const struct hadal_tuple* tuple) {
  __u32 hash =
      tuple->client.words[0] ^ tuple->client.words[1] ^ tuple->client.words[2] ^ tuple->client.words[3];
  hash ^= tuple->client_port;
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35;
  return hash ^ (hash >> 16);
}

/* Our listener and no other of its SO_REUSEPORT group, which a process of the pod could have joined. */
static __always_inline bool assign_listener(struct bpf_sk_lookup* ctx, __u32 kind, __u32 hash) {
  for (__u32 i = 0; i < HADAL_MAX_WORKERS; i++) {
    struct hadal_listener_key key = {.pod_index = pod_index, .kind = kind};
    struct bpf_sock* listener;
    long error;

    if (i >= worker_count) break;
    key.worker = (hash + i) % worker_count;
    listener = bpf_map_lookup_elem(&listeners, &key);
    if (!listener) continue;
    error = bpf_sk_assign(ctx, listener, BPF_SK_LOOKUP_F_NO_REUSEPORT);
    bpf_sk_release(listener);
    if (error == 0) return true;
  }
  return false;
}

/* Without a listener: passing on would hand the application, or the wire, a connection that nobody judged. */
static __always_inline int steer(struct bpf_sk_lookup* ctx, __u32 kind, __u32 reason, __u32 hash) {
  return assign_listener(ctx, kind, hash) ? pass(reason) : drop(HADAL_REASON_NO_LISTENER);
}

/* 5.17 tells the interface. */
static __always_inline bool from_virtual_interface(const struct bpf_sk_lookup* ctx) {
  return bpf_core_field_exists(ctx->ingress_ifindex) && is_virtual_interface(pod_index, ctx->ingress_ifindex);
}

/* What may change while the pod runs; asked for only where it counts. */
static __always_inline __u32 pod_flags(void) {
  __u64 cookie = netns_cookie;
  const struct hadal_pod* pod = bpf_map_lookup_elem(&pods, &cookie);
  return pod && pod->pod_index == pod_index ? pod->flags : 0;
}

/*
 * A connection to this pod by a pod of this node. Stays until its client's socket closes: with SYN cookies it
 * is looked up twice. A socket may outlive its process, with bytes that nobody reads; its pod's address may
 * be another's by then.
 */
static __always_inline bool is_authorized(const struct hadal_tuple* tuple) {
  struct hadal_authorization* found = bpf_map_lookup_elem(&authorized, tuple);
  if (!found || found->destination_pod_index != pod_index) return false;
  if (!pod_owns(found->source_pod_index, &tuple->client)) return false;
  found->seen = mark_of(tuple);
  return true;
}

SEC("sk_lookup")
int hadal_sk_lookup(struct bpf_sk_lookup* ctx) {
  struct hadal_tuple tuple = {};
  __u32 flags;
  bool lo;

  if (ctx->protocol != IPPROTO_TCP) return SK_PASS;

  if (ctx->family == AF_INET) {
    tuple.client = address_from_ipv4(ctx->remote_ip4);
    tuple.server = address_from_ipv4(ctx->local_ip4);
  } else {
    tuple.client.words[0] = ctx->remote_ip6[0];
    tuple.client.words[1] = ctx->remote_ip6[1];
    tuple.client.words[2] = ctx->remote_ip6[2];
    tuple.client.words[3] = ctx->remote_ip6[3];
    tuple.server.words[0] = ctx->local_ip6[0];
    tuple.server.words[1] = ctx->local_ip6[1];
    tuple.server.words[2] = ctx->local_ip6[2];
    tuple.server.words[3] = ctx->local_ip6[3];
    /* Else clang merges the last load of both branches into one of a computed offset, which the verifier
     * refuses. */
    asm volatile("");
  }
  tuple.client_port = bpf_ntohs(ctx->remote_port);
  tuple.server_port = ctx->local_port;

  /* 1. Not an address of the pod: its own connection, brought back by the mark. */
  if (!address_is_local_only(&tuple.server) && !pod_owns(pod_index, &tuple.server)) {
    if (!pod_owns(pod_index, &tuple.client)) {
      /* A machine inside the pod, whose interface says so; counted where its packet was taken. */
      if (from_virtual_interface(ctx)) {
        bool assigned = assign_listener(ctx, HADAL_LISTENER_OUTBOUND, hash_client(&tuple));
        return assigned ? SK_PASS : drop(HADAL_REASON_NO_LISTENER);
      }
      /* The agent would speak for a source that is not the pod's (IPV6_FREEBIND, bind to 127.0.0.1). */
      return drop(HADAL_REASON_SOURCE_NOT_REGISTERED);
    }
    return steer(ctx, HADAL_LISTENER_OUTBOUND, HADAL_REASON_CAPTURED_OUTBOUND, hash_client(&tuple));
  }
  /* 2. The pod to itself: its interface is eth0 here, not lo. */
  if (address_equals(&tuple.client, &tuple.server)) return pass(HADAL_REASON_OWN_ADDRESS);
  /* 3. The agent to the application; 5.17 tells the interface. Before it such a connection is taken for one
   * from outside and comes back to the agent: see docs/kernels.md. */
  lo = bpf_core_field_exists(ctx->ingress_ifindex) && ctx->ingress_ifindex == LOOPBACK_IFINDEX;
  if (lo)
    return pass(address_is_local_only(&tuple.server) ? HADAL_REASON_LOOPBACK : HADAL_REASON_AGENT_DELIVERY);
  /* 4. */
  if (tuple.server_port == hbone_port)
    return steer(ctx, HADAL_LISTENER_HBONE, HADAL_REASON_CAPTURED_HBONE, hash_client(&tuple));
  /* 5. */
  if (is_authorized(&tuple)) return pass(HADAL_REASON_AUTHORIZED);
  /* 6. */
  if (bpf_map_lookup_elem(&kubelet_tuples, &tuple)) return pass(HADAL_REASON_KUBELET);
  /* 7. A machine inside the pod calls the pod, as its own processes do. */
  flags = pod_flags();
  if ((flags & HADAL_POD_HAS_VIRTUAL) && from_virtual_interface(ctx)) return pass(HADAL_REASON_OWN_ADDRESS);
  /* 8. Who asked for it gets plain connections as they come, whether an agent runs or not. */
  if (flags & HADAL_POD_BYPASS_INBOUND) return pass(HADAL_REASON_INBOUND_BYPASSED);
  if (excludes_inbound(pod_index, flags, tuple.server_port)) return pass(HADAL_REASON_EXCLUDED_INBOUND);
  /* 9. */
  return steer(ctx, HADAL_LISTENER_PLAINTEXT, HADAL_REASON_CAPTURED_PLAINTEXT, hash_client(&tuple));
}

char LICENSE[] SEC("license") = "GPL";
