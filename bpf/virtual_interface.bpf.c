// SPDX-License-Identifier: GPL-2.0
/*
 * TCP of a machine inside a pod (a virtual machine, a container engine), which reaches the pod by an
 * interface of the pod's namespace and would be forwarded out of it: the programs of one pod's interfaces.
 *
 * A packet of a connection that the machine makes is given to the agent's socket here, and a rule of its mark
 * and interface brings it there. Whoever flushes that rule sends nothing out: the kernel forwards no packet
 * that has a socket. Not HADAL_MARK, which accepted sockets inherit and which would keep the answers from the
 * machine.
 */
#include "lib/address.h"
#include "lib/counters.h"
#include "lib/kernel.h"
#include "lib/pods.h"
#include "lib/virtual_interfaces.h"

#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IP_FRAGMENT 0x3fff /* more to come, or not the first */
#define EXTENSION_HOP_BY_HOP 0
#define EXTENSION_ROUTING 43
#define EXTENSION_FRAGMENT 44
#define EXTENSION_DESTINATION 60
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define MAX_EXTENSIONS 6

const volatile __u32 pod_index = 0;

enum kind { NOT_TCP, FRAGMENT, SEGMENT };

struct segment {
  struct hadal_tuple tuple; /* client: who sent it */
  __u8 flags;
  bool is_ipv4;
};

static __always_inline bool load(struct __sk_buff* skb, __u32 at, void* to, __u32 size) {
  return bpf_skb_load_bytes_relative(skb, at, to, size, BPF_HDR_START_NET) == 0;
}

static __always_inline enum kind read_ports(struct __sk_buff* skb, __u32 at, struct segment* segment) {
  struct {
    __be16 source;
    __be16 destination;
    __u8 rest[9];
    __u8 flags;
  } tcp;

  if (!load(skb, at, &tcp, sizeof(tcp))) return FRAGMENT;
  segment->tuple.client_port = bpf_ntohs(tcp.source);
  segment->tuple.server_port = bpf_ntohs(tcp.destination);
  segment->flags = tcp.flags;
  return SEGMENT;
}

static __always_inline enum kind read_ipv4(struct __sk_buff* skb, struct segment* segment) {
  struct iphdr ip;

  if (!load(skb, 0, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP) return NOT_TCP;
  if (ip.frag_off & bpf_htons(IP_FRAGMENT)) return FRAGMENT;
  segment->is_ipv4 = true;
  segment->tuple.client = address_from_ipv4(ip.saddr);
  segment->tuple.server = address_from_ipv4(ip.daddr);
  return read_ports(skb, ip.ihl * 4, segment);
}

static __always_inline enum kind read_ipv6(struct __sk_buff* skb, struct segment* segment) {
  struct ipv6hdr ip;
  __u32 at = sizeof(ip);
  bool is_fragment = false;
  __u8 next;

  if (!load(skb, 0, &ip, sizeof(ip))) return NOT_TCP;
  next = ip.nexthdr;
  for (int i = 0; i < MAX_EXTENSIONS; i++) {
    struct {
      __u8 next;
      __u8 length;
    } extension;

    if (next != EXTENSION_HOP_BY_HOP && next != EXTENSION_ROUTING && next != EXTENSION_FRAGMENT &&
        next != EXTENSION_DESTINATION)
      break;
    if (!load(skb, at, &extension, sizeof(extension))) return FRAGMENT;
    if (next == EXTENSION_FRAGMENT) is_fragment = true;
    at += next == EXTENSION_FRAGMENT ? 8 : (extension.length + 1) * 8;
    next = extension.next;
  }
  if (next != IPPROTO_TCP) return NOT_TCP;
  if (is_fragment) return FRAGMENT;
  __builtin_memcpy(&segment->tuple.client, &ip.saddr, sizeof(segment->tuple.client));
  __builtin_memcpy(&segment->tuple.server, &ip.daddr, sizeof(segment->tuple.server));
  return read_ports(skb, at, segment);
}

static __always_inline enum kind read_segment(struct __sk_buff* skb, struct segment* segment) {
  if (skb->protocol == bpf_htons(ETH_P_IP)) return read_ipv4(skb, segment);
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return read_ipv6(skb, segment);
  return NOT_TCP;
}

static __always_inline bool opens(const struct segment* segment) {
  return (segment->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Tuples of the map are named from the side that opened the connection. */
static __always_inline bool is_answer(const struct segment* segment) {
  struct hadal_virtual_flow_key key = {
      .pod_index = pod_index,
      .tuple = {.client = segment->tuple.server,
                .server = segment->tuple.client,
                .client_port = segment->tuple.server_port,
                .server_port = segment->tuple.client_port},
  };
  return bpf_map_lookup_elem(&virtual_inbound, &key) != NULL;
}

/* The socket of a connection, or the listener that sk_lookup.bpf.c chooses for it. */
static __always_inline struct bpf_sock* find_socket(struct __sk_buff* skb, const struct segment* segment) {
  const struct hadal_tuple* tuple = &segment->tuple;
  struct bpf_sock_tuple wanted = {};

  if (segment->is_ipv4) {
    wanted.ipv4.saddr = tuple->client.words[3];
    wanted.ipv4.daddr = tuple->server.words[3];
    wanted.ipv4.sport = bpf_htons(tuple->client_port);
    wanted.ipv4.dport = bpf_htons(tuple->server_port);
    return bpf_skc_lookup_tcp(skb, &wanted, sizeof(wanted.ipv4), BPF_F_CURRENT_NETNS, 0);
  }
  __builtin_memcpy(wanted.ipv6.saddr, &tuple->client, sizeof(wanted.ipv6.saddr));
  __builtin_memcpy(wanted.ipv6.daddr, &tuple->server, sizeof(wanted.ipv6.daddr));
  wanted.ipv6.sport = bpf_htons(tuple->client_port);
  wanted.ipv6.dport = bpf_htons(tuple->server_port);
  return bpf_skc_lookup_tcp(skb, &wanted, sizeof(wanted.ipv6), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline int drop(__u32 reason) {
  count_for_pod(pod_index, reason);
  return TC_ACT_SHOT;
}

/* From the machine. */
SEC("tc")
int hadal_from_virtual(struct __sk_buff* skb) {
  struct segment segment = {};
  struct bpf_sock* sk;
  __u32 mark;
  long error;

  switch (read_segment(skb, &segment)) {
    case NOT_TCP:
      return TC_ACT_UNSPEC;
    case FRAGMENT:
      /* Without its ports nobody knows whose it is; TCP that looks for its path sends none. */
      return drop(HADAL_REASON_VIRTUAL_NOT_CAPTURED);
    case SEGMENT:
      break;
  }
  /* The pod itself: sk_lookup.bpf.c leaves it alone. */
  if (address_is_local_only(&segment.tuple.server) || pod_owns(pod_index, &segment.tuple.server))
    return TC_ACT_UNSPEC;
  sk = find_socket(skb, &segment);
  if (!opens(&segment) && (!sk || sk->state == BPF_TCP_LISTEN) && is_answer(&segment)) {
    if (sk) bpf_sk_release(sk);
    return TC_ACT_UNSPEC;
  }
  if (!sk) return drop(HADAL_REASON_VIRTUAL_NOT_CAPTURED);
  error = bpf_sk_assign(skb, sk, 0);
  bpf_sk_release(sk);
  if (error) return drop(HADAL_REASON_VIRTUAL_NOT_CAPTURED);
  mark = (skb->mark & ~HADAL_MARK_MASK) | HADAL_VIRTUAL_MARK;
  /* Else clang writes the low half alone, which the verifier refuses. */
  asm volatile("" : "+r"(mark));
  skb->mark = mark;
  if (opens(&segment)) count_for_pod(pod_index, HADAL_REASON_CAPTURED_VIRTUAL);
  return TC_ACT_UNSPEC;
}

/* To the machine: who opens a connection to it gets its answers as before. */
SEC("tc")
int hadal_to_virtual(struct __sk_buff* skb) {
  struct hadal_virtual_flow_key key = {.pod_index = pod_index};
  struct segment segment = {};
  __u32 present = 1;

  if (read_segment(skb, &segment) != SEGMENT || !opens(&segment)) return TC_ACT_UNSPEC;
  key.tuple = segment.tuple;
  bpf_map_update_elem(&virtual_inbound, &key, &present, BPF_ANY);
  return TC_ACT_UNSPEC;
}

/* From an interface of which no packet comes to the pod's own stack: what cannot be captured is refused. */
SEC("tc")
int hadal_refuse_virtual(struct __sk_buff* skb) {
  struct segment segment = {};

  switch (read_segment(skb, &segment)) {
    case NOT_TCP:
      return TC_ACT_UNSPEC;
    case SEGMENT:
      if (!opens(&segment)) return TC_ACT_UNSPEC;
      break;
    case FRAGMENT:
      break;
  }
  return drop(HADAL_REASON_VIRTUAL_NOT_CAPTURED);
}

char LICENSE[] SEC("license") = "GPL";
