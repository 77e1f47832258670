// SPDX-License-Identifier: GPL-2.0
/* Who sent a datagram, as a process on an IPv4 socket is told. */
#include "lib/dns.h"

SEC("cgroup/recvmsg4")
int hadal_recvmsg4(struct bpf_sock_addr* ctx) {
  show_nameserver4(ctx);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
