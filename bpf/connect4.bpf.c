// SPDX-License-Identifier: GPL-2.0
/* connect() on IPv4 sockets. */
#include "lib/outbound.h"

SEC("cgroup/connect4")
int hadal_connect4(struct bpf_sock_addr* ctx) {
  struct hadal_address destination = address_from_ipv4(ctx->user_ip4);
  struct chosen chosen = {};
  __u16 resolver = 0;
  int verdict = decide_outbound(ctx, &destination, &resolver, &chosen);
  if (resolver) steer_ipv4(ctx, resolver);
  if (chosen.port) write_ipv4(ctx, &chosen.address, chosen.port);
  return verdict;
}

char LICENSE[] SEC("license") = "GPL";
