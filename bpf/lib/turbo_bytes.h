/* SPDX-License-Identifier: GPL-2.0 */
/* What a connection carried past TCP, of which TCP's own counters know nothing. */
#ifndef HADAL_LIB_TURBO_BYTES_H
#define HADAL_LIB_TURBO_BYTES_H

#include "lib/sockets.h"
#include "lib/turbo_maps.h"

/* The entry of a seat, unless its tuple serves another connection by now. */
static __always_inline struct hadal_turbo_pair* turbo_pair_of(const struct turbo_seat* seat, __u64 cookie) {
  struct hadal_turbo_pair* pair = bpf_map_lookup_elem(&turbo_pairs, &seat->tuple);
  if (!pair || (seat->is_client ? pair->client.cookie : pair->server.cookie) != cookie) return NULL;
  return pair;
}

static __always_inline void turbo_read_bytes(const struct turbo_seat* seat, __u64 cookie,
                                             struct socket_state* state) {
  const struct hadal_turbo_pair* pair = turbo_pair_of(seat, cookie);
  if (!pair) return;
  state->sent_past_tcp = seat->is_client ? pair->client.bytes : pair->server.bytes;
  state->received_past_tcp = seat->is_client ? pair->server.bytes : pair->client.bytes;
}

#endif
