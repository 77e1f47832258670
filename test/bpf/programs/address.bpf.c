// SPDX-License-Identifier: GPL-2.0
/* lib/address.h under BPF_PROG_TEST_RUN: the packet holds two addresses, the result has a bit for each
 * answer. */
#include "lib/address.h"

SEC("tc")
int hadal_test_address(struct __sk_buff* skb) {
  struct hadal_address pair[2] = {};
  if (bpf_skb_load_bytes(skb, 0, pair, sizeof(pair)) != 0) return -1;
  return (address_is_ipv4(&pair[0]) ? 1 : 0) | (address_is_local_only(&pair[0]) ? 2 : 0) |
         (address_equals(&pair[0], &pair[1]) ? 4 : 0);
}

char LICENSE[] SEC("license") = "GPL";
