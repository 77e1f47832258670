// SPDX-License-Identifier: GPL-2.0
/* A datagram sent to a given IPv6 address. Mapped ones come to sendmsg4. */
#include "lib/dns.h"

SEC("cgroup/sendmsg6")
int hadal_sendmsg6(struct bpf_sock_addr* ctx) {
  struct hadal_address nameserver;
  __u16 port;

  if (!is_query(ctx)) return 1;
  nameserver.words[0] = ctx->user_ip6[0];
  nameserver.words[1] = ctx->user_ip6[1];
  nameserver.words[2] = ctx->user_ip6[2];
  nameserver.words[3] = ctx->user_ip6[3];
  port = steer_datagram(ctx, &nameserver);
  if (port) steer_ipv6(ctx, port, false);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
