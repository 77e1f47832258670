// SPDX-License-Identifier: GPL-2.0
/* Ends connections by their socket cookie (6.5). An object of its own: older kernels refuse the kfunc, and
 * with it the object. */
#include "lib/kernel.h"
#include "shared/capture.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, __u32);
} doomed SEC(".maps");

extern int bpf_sock_destroy(struct sock_common* sk) __ksym;

/* Writes the cookies of the sockets that it ended. */
SEC("iter/tcp")
int hadal_destroy(struct bpf_iter__tcp* ctx) {
  struct sock_common* skc = ctx->sk_common;
  __u64 cookie;

  /* Reading a field also keeps the whole struct in BTF, without which libbpf finds the kfunc's prototype
   * incompatible. */
  if (!skc || skc->skc_state == BPF_TCP_LISTEN) return 0;
  cookie = bpf_get_socket_cookie(skc);
  if (!bpf_map_lookup_elem(&doomed, &cookie)) return 0;
  if (bpf_sock_destroy(skc) == 0) bpf_seq_write(ctx->meta->seq, &cookie, sizeof(cookie));
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
