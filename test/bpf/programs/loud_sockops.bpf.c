// SPDX-License-Identifier: GPL-2.0
/* As a monitoring program does: wants to hear of everything, and leaves nothing of what others asked for. */
#include "lib/kernel.h"

SEC("sockops")
int set_all_flags(struct bpf_sock_ops* ctx) {
  if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB || ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
    bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_ALL_CB_FLAGS & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
