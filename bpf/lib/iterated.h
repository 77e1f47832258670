/* SPDX-License-Identifier: GPL-2.0 */
/* Whose TCP socket it is that an iterator shows. */
#ifndef HADAL_LIB_ITERATED_H
#define HADAL_LIB_ITERATED_H

#include "lib/address.h"
#include "lib/kernel.h"
#include "shared/capture.h"

static __always_inline void read_local(const struct sock_common* skc, struct hadal_address* local,
                                       struct hadal_address* remote) {
  if (skc->skc_family == AF_INET) {
    *local = address_from_ipv4(skc->skc_rcv_saddr);
    *remote = address_from_ipv4(skc->skc_daddr);
    return;
  }
  local->words[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
  local->words[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
  local->words[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
  local->words[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
  remote->words[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
  remote->words[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
  remote->words[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
  remote->words[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
}

/* Of a connection that this socket made. */
static __always_inline void tuple_of_client(const struct sock_common* skc, struct hadal_tuple* tuple) {
  read_local(skc, &tuple->client, &tuple->server);
  tuple->client_port = skc->skc_num;
  tuple->server_port = bpf_ntohs(skc->skc_dport);
}

/* Of a connection that this socket was accepted for. */
static __always_inline void tuple_of_accepted(const struct sock_common* skc, struct hadal_tuple* tuple) {
  read_local(skc, &tuple->server, &tuple->client);
  tuple->server_port = skc->skc_num;
  tuple->client_port = bpf_ntohs(skc->skc_dport);
}

#endif
