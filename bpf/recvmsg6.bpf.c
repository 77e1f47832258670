// SPDX-License-Identifier: GPL-2.0
/* Who sent a datagram, as a process on an IPv6 socket is told. */
#include "lib/dns.h"

SEC("cgroup/recvmsg6")
int hadal_recvmsg6(struct bpf_sock_addr* ctx) {
  show_nameserver6(ctx);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
