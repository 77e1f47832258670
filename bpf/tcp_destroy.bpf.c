// SPDX-License-Identifier: GPL-2.0
/* Ends connections by their socket cookie (6.5). An object of its own: older kernels refuse the kfunc, and
 * with it the object. */
#include "lib/accepted.h"
#include "lib/iterated.h"
#include "lib/sockets.h"

/* By cookie; the value is the reason that the connection's flow record tells. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, __u32);
} doomed SEC(".maps");

extern int bpf_sock_destroy(struct sock_common* sk) __ksym;

/* For the record that is written when the connection closes: of a direct one by its client's socket, which
 * hears of it by the RST that follows. */
static __always_inline void keep_reason(struct sock_common* skc, struct tcp_sock* tcp, __u64 cookie,
                                        __u32 reason) {
  struct socket_state* state = bpf_sk_storage_get(&socket_states, tcp, NULL, 0);
  struct hadal_authorization* entry;
  struct hadal_tuple tuple = {};

  if (state) state->end_reason = reason;
  if (!may_be_accepted(tcp, state)) return;
  tuple_of_accepted(skc, &tuple);
  entry = accepted_entry(&tuple, cookie);
  if (entry) entry->end_reason = reason;
}

/* Writes the cookies of the sockets that it ended. */
SEC("iter/tcp")
int hadal_destroy(struct bpf_iter__tcp* ctx) {
  struct sock_common* skc = ctx->sk_common;
  const __u32* reason;
  struct tcp_sock* tcp;
  __u64 cookie;

  /* Reading a field also keeps the whole struct in BTF, without which libbpf finds the kfunc's prototype
   * incompatible. */
  if (!skc || skc->skc_state == BPF_TCP_LISTEN) return 0;
  cookie = bpf_get_socket_cookie(skc);
  reason = bpf_map_lookup_elem(&doomed, &cookie);
  if (!reason) return 0;
  tcp = bpf_skc_to_tcp_sock(skc);
  if (tcp) keep_reason(skc, tcp, cookie, *reason);
  if (bpf_sock_destroy(skc) == 0) bpf_seq_write(ctx->meta->seq, &cookie, sizeof(cookie));
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
