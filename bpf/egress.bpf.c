// SPDX-License-Identifier: GPL-2.0
/*
 * The last look at a packet that leaves: one of a captured connection never goes further than lo. Rule and
 * routes of the mark bring it there; while somebody has flushed them, it would leave the pod in clear: new
 * connections, open ones in the middle of their bytes, and answers of applications alike. TCP sends again
 * what is dropped here, so an open connection goes on when rule and routes are back.
 *
 * Runs for every packet of every socket below the pod's cgroup, so it leaves early. Whoever flushes rules,
 * routes, queues and filters does not reach it.
 */
#include "lib/counters.h"
#include "lib/kernel.h"
#include "lib/pods.h"

#define PASS 1
#define DROP 0

SEC("cgroup_skb/egress")
int hadal_egress(struct __sk_buff* skb) {
  const struct hadal_pod* pod;
  const struct tcp_sock* tcp;
  struct bpf_sock* sk;
  __u64 cookie;

  if ((skb->mark & HADAL_MARK_MASK) != HADAL_MARK || skb->ifindex == LOOPBACK_IFINDEX) return PASS;

  /* Only in namespaces of pods is the mark ours. */
  sk = skb->sk;
  if (!sk) return PASS;
  tcp = bpf_skc_to_tcp_sock(sk);
  if (!tcp) return PASS;
  cookie = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->net_cookie;
  pod = bpf_map_lookup_elem(&pods, &cookie);
  if (!pod) return PASS;
  count_for_pod(pod->pod_index, HADAL_REASON_LEAK_STOPPED);
  return DROP;
}

char LICENSE[] SEC("license") = "GPL";
