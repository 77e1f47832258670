// SPDX-License-Identifier: GPL-2.0
/*
 * Runs at each send of a connection whose two ends are sockets of this node: puts the bytes straight into the
 * peer's queue, or leaves them to TCP. A reader empties that queue before TCP's, so a stream stays in order
 * under one rule: the queue may be used only while nothing that TCP carries is on its way or unread. From the
 * queue to TCP it may go at any time. Whatever is not known for sure is TCP.
 *
 * One writer at a time is assumed: this runs under the lock of the sender's socket, and only the sender adds
 * bytes to its direction. Of the peer, rcv_nxt and copied_seq are read without its lock: once all was acked
 * the first stands still, and the second can only be behind, which means TCP.
 */
#include "lib/turbo_maps.h"

/* Bytes in a peer's queue beyond which sends go by TCP, whose windows hold the sender back. One send can
 * exceed it by what one message holds (17 fragments of at most 32 KB). */
const volatile __u32 queue_limit = 262144;

#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define SOCKET_POINTER_MASK (~7ul) /* SK_USER_DATA_PTRMASK */

enum { GO = HADAL_TURBO_REDIRECTED };

static __always_inline bool kernel_tells_all(void) {
  const struct sk_psock* psock = NULL;
  const struct tcp_sock* tcp = NULL;
  const struct sock* sk = NULL;

  return bpf_core_field_exists(psock->msg_tot_len) && bpf_core_field_exists(sk->sk_user_data) &&
         bpf_core_field_exists(sk->sk_peek_off) && bpf_core_field_exists(sk->sk_rcvlowat) &&
         bpf_core_field_exists(tcp->inet_conn.icsk_ulp_ops) && bpf_core_field_exists(tcp->bytes_sent) &&
         bpf_core_field_exists(tcp->copied_seq) && bpf_core_field_exists(tcp->rcv_nxt) &&
         bpf_core_field_exists(sk->__sk_common.skc_cookie) &&
         bpf_core_field_exists(sk->__sk_common.skc_prot->memory_pressure) &&
         bpf_core_enum_value_exists(enum sock_flags, SOCK_ZEROCOPY);
}

/* What the sender's own socket, which is locked, says. */
static __always_inline __u32 judge_sender(const struct tcp_sock* tcp) {
  const struct sock* sk = &tcp->inet_conn.icsk_inet.sk;
  unsigned long pressure = 0;
  __u8 state = sk->__sk_common.skc_state;

  /* The queue of the peer would take it all the same: after shutdown(), and after the connection was
   * destroyed because policy refuses it now. */
  if ((state != BPF_TCP_ESTABLISHED && state != BPF_TCP_CLOSE_WAIT) || (sk->sk_shutdown & SEND_SHUTDOWN))
    return HADAL_TURBO_TCP_ENDED;
  if ((sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY)) & 1)
    return HADAL_TURBO_TCP_SENDER;
  if (tcp->inet_conn.icsk_ulp_ops) return HADAL_TURBO_TCP_SENDER;
  /* The first bytes go by TCP: a reader may have entered TCP's recv() while its socket was joining, and only
   * they wake it. Once they are read, it comes back through the door that knows the queue. */
  if (tcp->bytes_sent == 0) return HADAL_TURBO_TCP_FIRST;
  if (tcp->write_seq != tcp->snd_una) return HADAL_TURBO_TCP_UNACKED;
  /* Else a send could fail with ENOMEM, which TCP would have waited out. */
  if (bpf_probe_read_kernel(&pressure, sizeof(pressure), sk->__sk_common.skc_prot->memory_pressure) != 0)
    return HADAL_TURBO_TCP_UNKNOWN;
  return pressure ? HADAL_TURBO_TCP_MEMORY : GO;
}

/* The peer's socket may go away while it is read, and its memory may become another's: reads that fail, and
 * the cookie before and after. */
static __always_inline __u32 judge_peer(const struct hadal_turbo_end* peer) {
  const struct tcp_sock* tcp = (const struct tcp_sock*)peer->socket;
  const struct sock* sk = (const struct sock*)peer->socket;
  const struct sk_psock* psock;
  __u32 reason = GO;

  if (!tcp || BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != (__s64)peer->cookie)
    return HADAL_TURBO_TCP_GONE;
  if (BPF_CORE_READ(tcp, rcv_nxt) != BPF_CORE_READ(tcp, copied_seq)) return HADAL_TURBO_TCP_UNREAD;
  if (BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN) return HADAL_TURBO_TCP_ENDED;
  if (BPF_CORE_READ(sk, sk_rcvlowat) > 1 || BPF_CORE_READ(sk, sk_peek_off) >= 0 ||
      BPF_CORE_READ(tcp, inet_conn.icsk_ulp_ops))
    return HADAL_TURBO_TCP_READER;
  psock = (const struct sk_psock*)((unsigned long)BPF_CORE_READ(sk, sk_user_data) & SOCKET_POINTER_MASK);
  if (!psock) return HADAL_TURBO_TCP_GONE;
  if (BPF_CORE_READ(psock, msg_tot_len) >= queue_limit) reason = HADAL_TURBO_TCP_QUEUE;
  if (BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != (__s64)peer->cookie) return HADAL_TURBO_TCP_GONE;
  return reason;
}

static __always_inline __u32 judge(const struct bpf_sock* sk, const struct hadal_turbo_end* own,
                                   const struct hadal_turbo_end* peer) {
  const struct tcp_sock* tcp = bpf_skc_to_tcp_sock((void*)sk);
  __u32 verdict;

  if (!tcp || !kernel_tells_all()) return HADAL_TURBO_TCP_UNKNOWN;
  /* A socket that connected again has the seat of before, and its tuple may be another connection's. */
  if (tcp->inet_conn.icsk_inet.sk.__sk_common.skc_cookie.counter != (__s64)own->cookie)
    return HADAL_TURBO_TCP_GONE;
  verdict = judge_sender(tcp);
  return verdict == GO ? judge_peer(peer) : verdict;
}

/* SK_PASS in any case: SK_DROP, as a failed redirect answers, would lose the bytes. */
SEC("sk_msg")
int hadal_turbo(struct sk_msg_md* msg) {
  struct bpf_sock* sk = msg->sk;
  struct hadal_turbo_end *own, *peer;
  struct hadal_turbo_pair* pair;
  struct turbo_seat* seat;
  __u32 size = msg->size;
  __u32 verdict;
  __u64 cookie;

  if (!turbo_is_on() || !sk) return SK_PASS;
  seat = bpf_sk_storage_get(&turbo_seats, sk, NULL, 0);
  if (!seat) return SK_PASS;
  pair = bpf_map_lookup_elem(&turbo_pairs, &seat->tuple);
  if (!pair) return SK_PASS;
  own = seat->is_client ? &pair->client : &pair->server;
  peer = seat->is_client ? &pair->server : &pair->client;
  if (!peer->socket || !turbo_takes(pair->client_pod_index) || !turbo_takes(pair->server_pod_index))
    return SK_PASS;
  verdict = judge(sk, own, peer);
  cookie = peer->cookie;
  if (verdict == GO) {
    if (bpf_msg_redirect_hash(msg, &turbo_sockets, &cookie, BPF_F_INGRESS) == SK_PASS)
      __sync_fetch_and_add(&own->bytes, size);
    else
      verdict = HADAL_TURBO_TCP_GONE;
  }
  count_turbo(verdict);
  return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
