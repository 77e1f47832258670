/* SPDX-License-Identifier: GPL-2.0 */
/* What the process of a direct connection dialled: getpeername() shows it, and not the endpoint. */
#ifndef HADAL_LIB_ASKED_H
#define HADAL_LIB_ASKED_H

#include "lib/address.h"
#include "lib/kernel.h"
#include "lib/sockets.h"

static __always_inline const struct socket_state* asked_of(struct bpf_sock_addr* ctx) {
  struct bpf_sock* sk = ctx->sk;
  const struct socket_state* state = sk ? bpf_sk_storage_get(&socket_states, sk, NULL, 0) : NULL;
  return state && state->asked_port ? state : NULL;
}

static __always_inline void show_asked4(struct bpf_sock_addr* ctx) {
  const struct socket_state* state = asked_of(ctx);
  if (state) write_ipv4(ctx, &state->asked, state->asked_port);
}

static __always_inline void show_asked6(struct bpf_sock_addr* ctx) {
  const struct socket_state* state = asked_of(ctx);
  if (state) write_ipv6(ctx, &state->asked, state->asked_port);
}

#endif
