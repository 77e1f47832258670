// SPDX-License-Identifier: GPL-2.0
/* connect() on IPv6 sockets. A mapped destination (::ffff:a.b.c.d) reaches only this hook, and is already in
 * our form. */
#include "lib/outbound.h"

SEC("cgroup/connect6")
int hadal_connect6(struct bpf_sock_addr* ctx) {
  struct hadal_address destination;
  struct chosen chosen = {};
  __u16 resolver = 0;
  int verdict;

  destination.words[0] = ctx->user_ip6[0];
  destination.words[1] = ctx->user_ip6[1];
  destination.words[2] = ctx->user_ip6[2];
  destination.words[3] = ctx->user_ip6[3];
  verdict = decide_outbound(ctx, &destination, &resolver, &chosen);
  if (resolver) steer_ipv6(ctx, resolver, address_is_ipv4(&destination));
  if (chosen.port) write_ipv6(ctx, &chosen.address, chosen.port);
  return verdict;
}

char LICENSE[] SEC("license") = "GPL";
