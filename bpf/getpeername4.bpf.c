// SPDX-License-Identifier: GPL-2.0
/* getpeername() on IPv4 sockets, UDP and TCP: whom the process thinks it is connected to. */
#include "lib/asked.h"
#include "lib/dns.h"

SEC("cgroup/getpeername4")
int hadal_getpeername4(struct bpf_sock_addr* ctx) {
  show_asked4(ctx);
  show_nameserver4(ctx);
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
