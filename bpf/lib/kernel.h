/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's types and helpers, and the few macros of its headers that BTF does not carry. */
#ifndef HADAL_LIB_KERNEL_H
#define HADAL_LIB_KERNEL_H

/* vmlinux.h comes first: libbpf's headers need its types. */
// clang-format off
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define AF_INET 2
#define AF_INET6 10
#define SOL_SOCKET 1
#define SO_KEEPALIVE 9
#define SO_MARK 36
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6
#define TCP_SYNCNT 7
#define TCP_USER_TIMEOUT 18
#define LOOPBACK_IFINDEX 1

/* A type that only records use would be dropped from BTF, and TypeScript could not read its offsets. */
#define HADAL_KEEP_TYPE(kind, name) const kind name* hadal_keep_##name __attribute__((unused))

#endif
