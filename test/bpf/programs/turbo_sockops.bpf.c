// SPDX-License-Identifier: GPL-2.0
/* Joins the two ends of every connection below a cgroup: from pod 1 to pod 2, whoever they are. */
#include "lib/address.h"
#include "lib/flow_reports.h"
#include "lib/turbo_join.h"

SEC("sockops")
int join_all(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  struct hadal_tuple tuple;
  struct turbo_seat* seat;
  struct ends ends;

  if (!sk) return 1;
  read_ends(ctx, &ends);
  if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
    tuple = (struct hadal_tuple){ends.local, ends.remote, ends.local_port, ends.remote_port};
    turbo_join_client(ctx, sk, &tuple, 1, 2);
    bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
  } else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
    tuple = (struct hadal_tuple){ends.remote, ends.local, ends.remote_port, ends.local_port};
    turbo_join_server(ctx, sk, &tuple, 2);
    bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
  } else if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_CLOSE) {
    seat = bpf_sk_storage_get(&turbo_seats, sk, NULL, 0);
    if (seat) turbo_leave(seat, bpf_get_socket_cookie(ctx));
  }
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
