// SPDX-License-Identifier: GPL-2.0
/* getpeername() on IPv6 sockets, UDP and TCP: whom the process thinks it is connected to. */
#include "lib/asked.h"
#include "lib/dns.h"

SEC("cgroup/getpeername6")
int hadal_getpeername6(struct bpf_sock_addr* ctx) {
  show_asked6(ctx);
  show_nameserver6(ctx);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
