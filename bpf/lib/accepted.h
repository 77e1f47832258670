/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The destination's end of a direct connection has no memory of its own. Its entry in `authorized` tells of
 * it as long as its client's socket lives; of what is left of it then, which its process may still read, a
 * flag.
 */
#ifndef HADAL_LIB_ACCEPTED_H
#define HADAL_LIB_ACCEPTED_H

#include "lib/kernel.h"
#include "lib/sockets.h"
#include "lib/tuples.h"

/* Costs a call for a header with an unknown option, and no more. No process can set it, but other programs
 * may: it proves nothing alone. */
#define ACCEPTED_DIRECT BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG

/* The entry that tells of this very socket. */
static __always_inline struct hadal_authorization* accepted_entry(const struct hadal_tuple* tuple,
                                                                  __u64 cookie) {
  struct hadal_authorization* entry = bpf_map_lookup_elem(&authorized, tuple);
  return entry && entry->accepted_cookie == cookie ? entry : NULL;
}

static __always_inline bool may_be_accepted(const struct tcp_sock* tcp, const struct socket_state* state) {
  if (!(tcp->bpf_sock_ops_cb_flags & ACCEPTED_DIRECT)) return false;
  if ((tcp->inet_conn.icsk_inet.sk.sk_mark & HADAL_MARK_MASK) == HADAL_MARK) return false;
  return !state || state->role == ROLE_NONE || state->role == ROLE_JOINED;
}

/* The client has closed, so that nothing can arrive any more. */
static __always_inline bool has_heard_the_end(const struct sock_common* skc) {
  __u8 state = skc->skc_state;
  return state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING;
}

#endif
