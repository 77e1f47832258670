/* SPDX-License-Identifier: GPL-2.0 */
/* Turbo: what the two ends of a direct connection know of each other. See capture.h for the rules of layout.
 */
#ifndef HADAL_SHARED_TURBO_H
#define HADAL_SHARED_TURBO_H

#include "layout.h"

/* turbo_switch: read at every send, so that turning it is heard at once; zero, as a new map is, means off. */
enum hadal_turbo_switch {
  HADAL_TURBO_OFF = 0,
  HADAL_TURBO_ON = 1,
  HADAL_TURBO_KILLED = 2, /* by an operator: no agent turns it on again */
};

struct hadal_turbo_end {
  __u64 socket; /* where the kernel has it, for reads that may fail; 0 until it has joined */
  __u64 cookie; /* the socket is still the one that joined only while it has this */
  __u64 bytes;  /* what this end sent past TCP */
};
HADAL_LAYOUT(struct hadal_turbo_end, 24);

/* turbo_pairs: by the tuple of the connection as its client sees it. */
struct hadal_turbo_pair {
  struct hadal_turbo_end client;
  struct hadal_turbo_end server;
  __u32 client_pod_index;
  __u32 server_pod_index;
  __u32 open; /* ends that have not closed; the last takes the entry with it */
  __u32 reserved;
};
HADAL_LAYOUT(struct hadal_turbo_pair, 64);

/* turbo_counts: per CPU, connections and sends. Only a send that found its peer is counted. */
enum hadal_turbo_count {
  HADAL_TURBO_JOINED = 0,       /* ends that joined */
  HADAL_TURBO_REFUSED_KIND = 1, /* MPTCP, or a socket of the kernel, such as a listener's of MPTCP */
  HADAL_TURBO_REFUSED_ROOM = 2, /* no room in a map or in the socket's storage */
  HADAL_TURBO_REDIRECTED = 3,   /* sends straight into the peer's queue */
  HADAL_TURBO_TCP_FIRST = 4,    /* sends by TCP: nothing has gone that way before */
  HADAL_TURBO_TCP_UNACKED = 5,  /* by TCP: bytes sent before are not there yet */
  HADAL_TURBO_TCP_UNREAD = 6,   /* by TCP: the peer has not read those yet */
  HADAL_TURBO_TCP_QUEUE = 7,    /* by TCP: the peer's queue is full */
  HADAL_TURBO_TCP_SENDER = 8,   /* by TCP: the sender's socket has SO_ZEROCOPY or a ULP */
  HADAL_TURBO_TCP_READER = 9,   /* by TCP: the peer's has a ULP, SO_RCVLOWAT or SO_PEEK_OFF */
  HADAL_TURBO_TCP_MEMORY = 10,  /* by TCP: the machine is short of socket memory */
  HADAL_TURBO_TCP_GONE = 11,    /* by TCP: the peer is not the socket that joined */
  HADAL_TURBO_TCP_UNKNOWN = 12, /* by TCP: this kernel does not tell what must be known */
  HADAL_TURBO_TCP_ENDED = 13,   /* by TCP: the connection, or this direction of it, has ended */
  HADAL_TURBO_COUNT = 16,
};

#endif
