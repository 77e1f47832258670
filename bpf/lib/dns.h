/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queries of a pod: to port 53 of a nameserver, by UDP or TCP. They go to the agent's resolver on the pod's
 * own loopback, and answers show the nameserver's address again, as strict clients want. Capture of names
 * protects nobody: whatever stands in the way leaves the query to its nameserver.
 */
#ifndef HADAL_LIB_DNS_H
#define HADAL_LIB_DNS_H

#include "lib/address.h"
#include "lib/counters.h"
#include "lib/heartbeat.h"
#include "lib/kernel.h"
#include "lib/pods.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 32768);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_nameserver_key);
  __type(value, struct hadal_nameserver);
} nameservers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 32768);
  __type(key, struct hadal_resolver_key);
  __type(value, __u64);
} resolvers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 32768);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct hadal_resolver_port_key);
  __type(value, __u32);
} resolver_ports SEC(".maps");

#define NO_SLOT (-1)

static __always_inline bool is_query(const struct bpf_sock_addr* ctx) {
  return ctx->user_port == bpf_htons(HADAL_DNS_PORT);
}

/* A nameserver not asked before takes the next slot, if the caller may say what a nameserver is. */
static __always_inline int slot_of(__u32 pod_index, const struct hadal_address* nameserver, bool may_add) {
  struct hadal_nameserver_key key = {.pod_index = pod_index};
  __u16 first = address_is_ipv4(nameserver) ? 0 : HADAL_DNS_SLOTS;

  for (__u16 i = 0; i < HADAL_DNS_SLOTS; i++) {
    const struct hadal_nameserver* known;
    key.slot = first + i;
    known = bpf_map_lookup_elem(&nameservers, &key);
    if (!known) {
      struct hadal_nameserver added = {.address = *nameserver};
      if (!may_add) return NO_SLOT;
      /* Another CPU may have been first: then its entry is the one to find. */
      bpf_map_update_elem(&nameservers, &key, &added, BPF_NOEXIST);
      known = bpf_map_lookup_elem(&nameservers, &key);
      if (!known) return NO_SLOT;
    }
    if (address_equals(&known->address, nameserver)) return key.slot;
  }
  return NO_SLOT;
}

/* Where the resolver of a slot listens, 0 when it does not. */
static __always_inline __u16 resolver_port(__u32 pod_index, __u16 slot, __u16 protocol) {
  struct hadal_resolver_key key = {.pod_index = pod_index, .slot = slot, .protocol = protocol};
  struct bpf_sock* resolver = bpf_map_lookup_elem(&resolvers, &key);
  __u16 port;

  if (!resolver) return 0;
  port = resolver->src_port;
  bpf_sk_release(resolver);
  return port;
}

static __always_inline const struct hadal_nameserver* nameserver_at(__u32 pod_index, __u16 slot) {
  struct hadal_nameserver_key key = {.pod_index = pod_index, .slot = slot};
  return bpf_map_lookup_elem(&nameservers, &key);
}

/* Only there is TCP a query: other nameservers the pod makes up with a datagram, and what it dials there may
 * be any connection. */
static __always_inline bool is_configured(__u32 pod_index, __u16 slot) {
  const struct hadal_nameserver* found = nameserver_at(pod_index, slot);
  return found && (found->flags & HADAL_NAMESERVER_CONFIGURED);
}

struct query {
  int slot;   /* NO_SLOT: not the agent's to answer */
  __u16 port; /* of its resolver on loopback; 0: there is none now */
};

/*
 * TCP to port 53 is a query only where the pod's nameservers are: elsewhere it may be any connection, which
 * the mesh carries.
 */
static __always_inline void find_resolver(struct bpf_sock* sk, const struct hadal_pod* pod, __u16 protocol,
                                          const struct hadal_address* nameserver, struct query* query) {
  __u32 pod_index = pod->pod_index;

  query->slot = NO_SLOT;
  query->port = 0;
  if (!(pod->flags & HADAL_POD_CAPTURE_DNS)) return;
  if (address_is_local_only(nameserver) || pod_owns(pod_index, nameserver)) return;
  /* Bound to eth0, it would never reach loopback. */
  if (sk->bound_dev_if != 0 && sk->bound_dev_if != LOOPBACK_IFINDEX) return;
  query->slot = slot_of(pod_index, nameserver, protocol == IPPROTO_UDP);
  if (query->slot != NO_SLOT && agent_is_alive(HADAL_HEARTBEAT_NAMES, HADAL_HEARTBEAT_STALE_MS))
    query->port = resolver_port(pod_index, query->slot, protocol);
}

/* The loopback port that a datagram goes to instead, 0: none. */
static __always_inline __u16 steer_datagram(struct bpf_sock_addr* ctx,
                                            const struct hadal_address* nameserver) {
  struct bpf_sock* sk = ctx->sk;
  const struct hadal_pod* pod;
  struct query query;
  __u64 cookie;

  if (!sk || ctx->protocol != IPPROTO_UDP) return 0;
  cookie = bpf_get_netns_cookie(ctx);
  pod = bpf_map_lookup_elem(&pods, &cookie);
  if (!pod || !(pod->flags & HADAL_POD_CAPTURE_DNS) || bpf_sk_storage_get(&exempt, sk, NULL, 0)) return 0;
  if (address_is_local_only(nameserver) || pod_owns(pod->pod_index, nameserver)) return 0;
  find_resolver(sk, pod, IPPROTO_UDP, nameserver, &query);
  if (query.port)
    count_for_pod(pod->pod_index, HADAL_REASON_DNS_STEERED);
  else if (query.slot == NO_SLOT)
    count_for_pod(pod->pod_index, HADAL_REASON_DNS_NOT_STEERED);
  else
    count_for_pod(pod->pod_index, HADAL_REASON_DNS_RESOLVER_AWAY);
  return query.port;
}

/* The nameserver behind a loopback address and port, if a resolver of ours is there. */
static __always_inline const struct hadal_address* nameserver_behind(struct bpf_sock_addr* ctx, __u8 family) {
  struct hadal_resolver_port_key port = {.family = family, .protocol = ctx->protocol};
  const struct hadal_nameserver* found;
  const struct hadal_pod* pod;
  const __u32* slot;
  __u64 cookie;

  cookie = bpf_get_netns_cookie(ctx);
  pod = bpf_map_lookup_elem(&pods, &cookie);
  if (!pod) return NULL;
  port.pod_index = pod->pod_index;
  port.port = bpf_ntohs((__u16)ctx->user_port);
  slot = bpf_map_lookup_elem(&resolver_ports, &port);
  if (!slot) return NULL;
  found = nameserver_at(pod->pod_index, *slot);
  return found ? &found->address : NULL;
}

static __always_inline void steer_ipv4(struct bpf_sock_addr* ctx, __u16 port) {
  ctx->user_ip4 = bpf_htonl(0x7f000001);
  ctx->user_port = bpf_htons(port);
}

/* An IPv4 nameserver stays mapped. */
static __always_inline void steer_ipv6(struct bpf_sock_addr* ctx, __u16 port, bool mapped) {
  ctx->user_ip6[0] = 0;
  ctx->user_ip6[1] = 0;
  ctx->user_ip6[2] = mapped ? bpf_htonl(0xffff) : 0;
  ctx->user_ip6[3] = mapped ? bpf_htonl(0x7f000001) : bpf_htonl(1);
  ctx->user_port = bpf_htons(port);
}

static __always_inline void show_nameserver4(struct bpf_sock_addr* ctx) {
  const struct hadal_address* nameserver;

  if (ctx->user_ip4 != bpf_htonl(0x7f000001)) return;
  nameserver = nameserver_behind(ctx, 4);
  if (!nameserver) return;
  write_ipv4(ctx, nameserver, HADAL_DNS_PORT);
}

static __always_inline void show_nameserver6(struct bpf_sock_addr* ctx) {
  const struct hadal_address* nameserver;
  bool mapped = ctx->user_ip6[2] == bpf_htonl(0xffff) && ctx->user_ip6[3] == bpf_htonl(0x7f000001);
  bool loopback = ctx->user_ip6[2] == 0 && ctx->user_ip6[3] == bpf_htonl(1);

  if (ctx->user_ip6[0] || ctx->user_ip6[1] || (!mapped && !loopback)) return;
  nameserver = nameserver_behind(ctx, mapped ? 4 : 6);
  if (!nameserver) return;
  write_ipv6(ctx, nameserver, HADAL_DNS_PORT);
}

#endif
