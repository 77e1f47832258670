/* SPDX-License-Identifier: GPL-2.0 */
/* Fixed-width types under one name for BPF C (vmlinux.h has them), C and C++, and a size check that all of
 * them take. */
#ifndef HADAL_SHARED_LAYOUT_H
#define HADAL_SHARED_LAYOUT_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define HADAL_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define HADAL_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

#define HADAL_LAYOUT(type, bytes) \
  HADAL_STATIC_ASSERT(sizeof(type) == (bytes), #type ": map ABI; bump HADAL_MAP_ABI when it changes")

#endif
