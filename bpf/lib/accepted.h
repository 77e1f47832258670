/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The destination's end of a direct connection. It has no memory of its own: a flag on the socket says what it
 * is, and its entry in `authorized`, while its client's socket lives, the rest.
 */
#ifndef HADAL_LIB_ACCEPTED_H
#define HADAL_LIB_ACCEPTED_H

#include "lib/kernel.h"
#include "lib/tuples.h"

/* Costs a call when its retransmission timer ends, and no more. No process can set it. */
#define ACCEPTED_DIRECT BPF_SOCK_OPS_RTO_CB_FLAG

/* The entry that tells of this very socket. */
static __always_inline struct hadal_authorization* accepted_entry(const struct hadal_tuple* tuple,
                                                                  __u64 cookie) {
  struct hadal_authorization* entry = bpf_map_lookup_elem(&authorized, tuple);
  return entry && entry->accepted_cookie == cookie ? entry : NULL;
}

static __always_inline bool is_accepted_direct(const struct tcp_sock* tcp) {
  return tcp->bpf_sock_ops_cb_flags & ACCEPTED_DIRECT;
}

#endif
