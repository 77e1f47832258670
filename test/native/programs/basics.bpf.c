// SPDX-License-Identifier: GPL-2.0
// One of everything that the bindings handle; test/native compiles it when it runs.
// The kernel's types come first: libbpf's headers need them.
// clang-format off
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

char LICENSE[] SEC("license") = "GPL";

enum colour { RED = 1, GREEN = 2, BLUE = -3 };

struct pair_key {
  __u8 address[16];
  __u16 port;
  __u16 pad;
};

struct nested {
  __s64 when;
  enum colour colour;
  __u32 low : 4;
  __u32 high : 12;
};

struct pair_value {
  __u64 bytes;
  struct nested inner;
  struct {
    bool seen;
    __u8 pad[7];
  };
};

const volatile __u32 step = 1;
const volatile __s8 small = 0;
const volatile bool enabled = true;
const volatile __u64 wide = 0;
const volatile enum colour paint = RED;
const volatile __u8 tag[4] = {};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, struct pair_key);
  __type(value, struct pair_value);
} pairs SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u32);
} counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKMAP);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} listeners SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u64);
} marked SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 65536);
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16);
  __uint(key_size, 8);
  __uint(value_size, 4);
} ranges SEC(".maps");

static void count(__u32 slot, __u32 by) {
  __u32* value = bpf_map_lookup_elem(&counters, &slot);
  if (value) *value += by;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr* ctx) {
  if (!enabled || paint != RED || small < 0 || tag[3] != 0 || wide != 0) return 1;
  count(0, step);
  return 1;
}

SEC("cgroup/connect4")
int on_connect_other(struct bpf_sock_addr* ctx) {
  count(1, step);
  return 1;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup* ctx) {
  __u32 slot = 0;
  struct bpf_sock* sk = bpf_map_lookup_elem(&listeners, &slot);
  if (!sk) return SK_DROP;
  long error = bpf_sk_assign(ctx, sk, 0);
  bpf_sk_release(sk);
  return error ? SK_DROP : SK_PASS;
}

SEC("tc")
int read_packet(struct __sk_buff* ctx) {
  __u32* out = bpf_ringbuf_reserve(&events, 8, 0);
  if (out) {
    out[0] = ctx->len;
    out[1] = ctx->mark;
    bpf_ringbuf_submit(out, 0);
  } else {
    count(3, 1);
  }
  ctx->mark = 7;
  return (int)ctx->len;
}

SEC("sk_msg")
int pass_message(struct sk_msg_md* ctx) {
  count(2, 1);
  return SK_PASS;
}

struct sock_common {
  unsigned short skc_family;
  __be16 skc_dport;
  __u16 skc_num;
} __attribute__((preserve_access_index));

struct seq_file;
struct bpf_iter_meta {
  struct seq_file* seq;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
  struct bpf_iter_meta* meta;
  struct sock_common* sk_common;
} __attribute__((preserve_access_index));

SEC("iter/tcp")
int list_tcp(struct bpf_iter__tcp* ctx) {
  struct sock_common* sk = ctx->sk_common;
  __u16 port;
  if (!sk) return 0;
  port = sk->skc_num;
  bpf_seq_write(ctx->meta->seq, &port, sizeof(port));
  return 0;
}

/* Types that nothing else uses stay in BTF through this. */
struct pair_key unused_key SEC(".data.keep");
