// SPDX-License-Identifier: GPL-2.0
/* connect() on IPv4 sockets. */
#include "lib/outbound.h"

SEC("cgroup/connect4")
int hadal_connect4(struct bpf_sock_addr* ctx) {
  struct hadal_address destination = address_from_ipv4(ctx->user_ip4);
  return decide_outbound(ctx, &destination);
}

char LICENSE[] SEC("license") = "GPL";
