// SPDX-License-Identifier: GPL-2.0
/* A datagram sent to a given IPv4 address, also from an IPv6 socket: musl asks all nameservers from one
 * socket. */
#include "lib/dns.h"

SEC("cgroup/sendmsg4")
int hadal_sendmsg4(struct bpf_sock_addr* ctx) {
  struct hadal_address nameserver;
  __u16 port;

  if (!is_query(ctx)) return 1;
  nameserver = address_from_ipv4(ctx->user_ip4);
  port = steer_datagram(ctx, &nameserver);
  if (port) steer_ipv4(ctx, port);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
