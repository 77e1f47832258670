/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the two ends of a direct connection join: in sockops, as each becomes ESTABLISHED, and never later. A
 * reader that already waits in TCP's own recv() would not wake for what comes past TCP.
 */
#ifndef HADAL_LIB_TURBO_JOIN_H
#define HADAL_LIB_TURBO_JOIN_H

#include "lib/turbo_bytes.h"
#include "lib/turbo_maps.h"

/* A subflow of MPTCP, or what its listener accepted from a plain client: accept() there tells sockets apart
 * by the functions that a sock map replaces. The latter looks like TCP by now, but is still the kernel's own.
 */
static __always_inline bool turbo_can_carry(const struct tcp_sock* tcp) {
  const struct sock* sk = &tcp->inet_conn.icsk_inet.sk;
  if (!bpf_core_field_exists(tcp->is_mptcp) || !bpf_core_field_exists(sk->sk_kern_sock)) return false;
  return !tcp->is_mptcp && !BPF_CORE_READ_BITFIELD(sk, sk_kern_sock);
}

static __always_inline bool turbo_take_seat(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                            const struct hadal_tuple* tuple, __u32 is_client, __u64* cookie) {
  struct turbo_seat* seat = bpf_sk_storage_get(&turbo_seats, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

  if (!seat) return false;
  seat->tuple = *tuple;
  seat->is_client = is_client;
  return bpf_sock_hash_update(ctx, &turbo_sockets, cookie, BPF_ANY) == 0;
}

/* At ACTIVE_ESTABLISHED, which always comes first: what may stand in the entry is of an older connection. */
static __always_inline bool turbo_join_client(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                              const struct hadal_tuple* tuple, __u32 own_pod_index,
                                              __u32 peer_pod_index) {
  const struct tcp_sock* tcp;
  struct hadal_turbo_pair pair = {
      .client_pod_index = own_pod_index,
      .server_pod_index = peer_pod_index,
      .open = 1,
  };
  __u64 cookie;

  if (!turbo_is_on() || !turbo_takes(own_pod_index) || !turbo_takes(peer_pod_index)) return false;
  tcp = bpf_skc_to_tcp_sock(sk);
  cookie = bpf_get_socket_cookie(ctx);
  if (!tcp || !turbo_can_carry(tcp)) {
    count_turbo(HADAL_TURBO_REFUSED_KIND);
    return false;
  }
  pair.client.socket = (__u64)tcp;
  pair.client.cookie = cookie;
  if (bpf_map_update_elem(&turbo_pairs, tuple, &pair, BPF_ANY) != 0) {
    count_turbo(HADAL_TURBO_REFUSED_ROOM);
    return false;
  }
  if (!turbo_take_seat(ctx, sk, tuple, 1, &cookie)) {
    bpf_map_delete_elem(&turbo_pairs, tuple);
    count_turbo(HADAL_TURBO_REFUSED_ROOM);
    return false;
  }
  count_turbo(HADAL_TURBO_JOINED);
  return true;
}

/* At PASSIVE_ESTABLISHED. Where the client has not joined, neither does the server. */
static __always_inline bool turbo_join_server(struct bpf_sock_ops* ctx, struct bpf_sock* sk,
                                              const struct hadal_tuple* tuple, __u32 own_pod_index) {
  const struct tcp_sock* tcp;
  struct hadal_turbo_pair* pair;
  __u64 cookie;

  if (!turbo_is_on()) return false;
  pair = bpf_map_lookup_elem(&turbo_pairs, tuple);
  if (!pair || pair->server.socket || pair->server_pod_index != own_pod_index) return false;
  tcp = bpf_skc_to_tcp_sock(sk);
  cookie = bpf_get_socket_cookie(ctx);
  if (!tcp || !turbo_can_carry(tcp)) {
    count_turbo(HADAL_TURBO_REFUSED_KIND);
    return false;
  }
  if (!turbo_take_seat(ctx, sk, tuple, 0, &cookie)) {
    count_turbo(HADAL_TURBO_REFUSED_ROOM);
    return false;
  }
  __sync_fetch_and_add(&pair->open, 1);
  pair->server.cookie = cookie;
  /* Last: from here on the client sends to it. */
  pair->server.socket = (__u64)tcp;
  count_turbo(HADAL_TURBO_JOINED);
  return true;
}

/* At BPF_TCP_CLOSE, when the bytes were read. */
static __always_inline void turbo_leave(const struct turbo_seat* seat, __u64 cookie) {
  struct hadal_turbo_pair* pair = turbo_pair_of(seat, cookie);
  struct hadal_tuple tuple = seat->tuple;

  if (pair && __sync_fetch_and_add(&pair->open, -1) == 1) bpf_map_delete_elem(&turbo_pairs, &tuple);
}

#endif
