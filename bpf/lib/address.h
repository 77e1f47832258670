/* SPDX-License-Identifier: GPL-2.0 */
/* Addresses of both families as 16 bytes, IPv4 mapped. */
#ifndef HADAL_LIB_ADDRESS_H
#define HADAL_LIB_ADDRESS_H

#include "lib/kernel.h"
#include "shared/capture.h"

static __always_inline struct hadal_address address_from_ipv4(__u32 network_order) {
  return (struct hadal_address){{0, 0, bpf_htonl(0xffff), network_order}};
}

static __always_inline bool address_is_ipv4(const struct hadal_address* address) {
  return address->words[0] == 0 && address->words[1] == 0 && address->words[2] == bpf_htonl(0xffff);
}

static __always_inline bool address_equals(const struct hadal_address* a, const struct hadal_address* b) {
  return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
         a->words[3] == b->words[3];
}

/* ::, also as IPv4 mapped. */
static __always_inline bool address_is_unspecified(const struct hadal_address* address) {
  return address->words[3] == 0 && address->words[0] == 0 && address->words[1] == 0 &&
         (address->words[2] == 0 || address->words[2] == bpf_htonl(0xffff));
}

/* 127.0.0.0/8, 0.0.0.0, ::1 and ::, also when IPv4 comes mapped: connections to them never leave the pod. */
static __always_inline bool address_is_local_only(const struct hadal_address* address) {
  if (address_is_ipv4(address))
    return address->words[3] == 0 || (address->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
  if (address->words[0] || address->words[1] || address->words[2]) return false;
  return address->words[3] == 0 || address->words[3] == bpf_htonl(1);
}

/* In place of the address that the process gave, or is shown. */
static __always_inline void write_ipv4(struct bpf_sock_addr* ctx, const struct hadal_address* address,
                                       __u16 port) {
  ctx->user_ip4 = address->words[3];
  ctx->user_port = bpf_htons(port);
}

static __always_inline void write_ipv6(struct bpf_sock_addr* ctx, const struct hadal_address* address,
                                       __u16 port) {
  ctx->user_ip6[0] = address->words[0];
  ctx->user_ip6[1] = address->words[1];
  ctx->user_ip6[2] = address->words[2];
  ctx->user_ip6[3] = address->words[3];
  ctx->user_port = bpf_htons(port);
}

#endif
