// SPDX-License-Identifier: GPL-2.0
// The verifier must refuse this: it follows a pointer that may be NULL.
// The kernel's types come first: libbpf's headers need them.
// clang-format off
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} table SEC(".maps");

SEC("tc")
int fine(struct __sk_buff* ctx) { return 0; }

SEC("tc")
int careless(struct __sk_buff* ctx) {
  __u32 key = 0;
  __u64* value = bpf_map_lookup_elem(&table, &key);
  return (int)*value;
}
