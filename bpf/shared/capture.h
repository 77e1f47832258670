/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keys and values of the capture's maps, and the records it writes. C is the source: TypeScript reads offsets
 * from the objects' BTF, so a type that no map names is kept in it by HADAL_KEEP_TYPE. Padding is explicit
 * and must be zero in keys. Ports are host order, addresses 16 bytes with IPv4 mapped (::ffff:a.b.c.d).
 */
#ifndef HADAL_SHARED_CAPTURE_H
#define HADAL_SHARED_CAPTURE_H

#include "constants.h"
#include "layout.h"

struct hadal_address {
  __u32 words[4]; /* network order */
};
HADAL_LAYOUT(struct hadal_address, 16);

/* pods: the socket cookie of a network namespace -> the pod that owns it. */
#define HADAL_POD_CAPTURE_OUTBOUND 1 /* off: the pod's own connections are left alone */
#define HADAL_POD_TRACK_FLOWS 2      /* report connections that the capture leaves alone */
#define HADAL_POD_CAPTURE_DNS 4      /* the pod's queries to port 53 go to the agent's resolver */
#define HADAL_POD_BYPASS_INBOUND 8   /* plain connections reach the application, and nobody judges them */
#define HADAL_POD_HAS_VIRTUAL 16     /* some of its interfaces stand in virtual_interfaces */
/* Its annotations choose among destinations, among its own ports; see exclusions.h. */
#define HADAL_POD_SELECTS_OUTBOUND 32
#define HADAL_POD_INCLUDES_OUTBOUND 64 /* only what an include list names is captured */
#define HADAL_POD_SELECTS_INBOUND 128
#define HADAL_POD_INCLUDES_INBOUND 256
/* Destinations outside of the mesh and its ranges: off, left alone. */
#define HADAL_POD_REFUSE_UNKNOWN 512 /* refused at connect(), whether an agent runs or not */
#define HADAL_POD_ASK_UNKNOWN 1024   /* captured: the agent says what becomes of them */

struct hadal_pod {
  __u32 pod_index;
  __u32 flags;
  __u32 flow_limit; /* connections tracked at once */
  __u32 worker_count;
};
HADAL_LAYOUT(struct hadal_pod, 16);

struct hadal_pod_address_key {
  __u32 pod_index;
  struct hadal_address address;
};
HADAL_LAYOUT(struct hadal_pod_address_key, 20);

/* virtual_interfaces: by index in the pod's namespace. */
struct hadal_virtual_interface_key {
  __u32 pod_index;
  __u32 interface_index;
};
HADAL_LAYOUT(struct hadal_virtual_interface_key, 8);

/* listeners: a pod's listeners by HADAL_LISTENER_... and worker. A listener that is closed takes its entry
 * with it. */
struct hadal_listener_key {
  __u32 pod_index;
  __u16 kind;
  __u16 worker;
};
HADAL_LAYOUT(struct hadal_listener_key, 8);

/* outbound_rows: what TypeScript decided for (source pod, destination, port). */
enum hadal_verdict {
  HADAL_VERDICT_REFUSE = 1,
  HADAL_VERDICT_UNTOUCHED = 2,
  HADAL_VERDICT_TUNNEL = 3,
  HADAL_VERDICT_DIRECT = 4, /* one of the row's targets is picked */
};

struct hadal_row_key {
  __u32 pod_index;
  __u16 port;
  __u16 reserved;
  struct hadal_address address;
};
HADAL_LAYOUT(struct hadal_row_key, 24);

struct hadal_row {
  __u8 verdict; /* enum hadal_verdict */
  __u8 reserved;
  __u16 reason; /* bpf/shared/reasons.h, of a refusal */
  __u32 error;  /* positive errno that connect() fails with; 0: EPERM */
  __u32 edge;
  __u32 target_set; /* of a direct row */
  __u32 target_count;
};
HADAL_LAYOUT(struct hadal_row, 20);

/*
 * direct_targets: where a direct row leads. One slot is picked at random; weights are repetitions. A set
 * never changes: a row is switched to another set, then the old one goes.
 */
#define HADAL_MAX_TARGETS 256

struct hadal_target_key {
  __u32 target_set;
  __u32 slot;
};
HADAL_LAYOUT(struct hadal_target_key, 8);

enum hadal_target_kind {
  HADAL_TARGET_TUNNEL = 1, /* captured: the agent picks among the endpoints that are not direct */
  HADAL_TARGET_DIRECT = 2, /* the kernel carries it to a pod of this node */
};

struct hadal_target {
  __u64 destination_netns_cookie;
  struct hadal_address address;
  __u32 destination_pod_index;
  __u32 edge;
  __u32 inbound_edge; /* the same connection as its destination tells it */
  __u32 target_set;   /* as in the key */
  __u16 port;
  __u8 kind; /* enum hadal_target_kind */
  __u8 reserved[5];
};
HADAL_LAYOUT(struct hadal_target, 48);

/* ranges: longest prefix match; inside it a connection without a row is captured. IPv4 prefixes count from
 * bit 96. */
struct hadal_range_key {
  __u32 prefix_length;
  struct hadal_address address;
};
HADAL_LAYOUT(struct hadal_range_key, 20);

struct hadal_range {
  __u32 kind; /* enum hadal_range_kind; today every kind is captured */
};
HADAL_LAYOUT(struct hadal_range, 4);

enum hadal_range_kind {
  HADAL_RANGE_PODS = 1,
  HADAL_RANGE_SERVICES = 2,
  HADAL_RANGE_MESH = 3,
};

/*
 * kubelet: whose connections from the host's namespace are probes. By cgroup: those of processes with
 * cgroup_id at cgroup_level above them. Where no cgroup isolates the kubelet, the fallback: those of any
 * process of the host.
 */
#define HADAL_KUBELET_BY_CGROUP 1
#define HADAL_KUBELET_ANY_HOST 2

struct hadal_kubelet {
  __u64 host_netns_cookie;
  __u64 cgroup_id;
  __u32 cgroup_level;
  __u32 flags;
};
HADAL_LAYOUT(struct hadal_kubelet, 24);

/* kubelet_tuples, authorized: a connection as its client sees it. */
struct hadal_tuple {
  struct hadal_address client;
  struct hadal_address server;
  __u16 client_port;
  __u16 server_port;
};
HADAL_LAYOUT(struct hadal_tuple, 36);

/* virtual_inbound: the same, for a connection to a machine inside a pod. */
struct hadal_virtual_flow_key {
  __u32 pod_index;
  struct hadal_tuple tuple;
};
HADAL_LAYOUT(struct hadal_virtual_flow_key, 40);

/*
 * Written before the SYN, taken out when the client's socket closes. Holds only while the client's address is
 * still the source pod's. A pod that leaves the mesh after the destination accepted becomes 0.
 */
struct hadal_authorization {
  __u64 opened_ns;
  __u64 accepted_cookie; /* of the destination's socket; 0: not accepted yet */
  __u32 destination_pod_index;
  __u32 source_pod_index;
  __u32 inbound_edge; /* 0: of a probe of the agent's, whose end no program hears of */
  __u32 seen; /* mark_of the tuple: the destination's lookup has passed it, who answers is the enrolled pod */
  __u32 end_reason; /* for which the agent ends it, at the destination */
  __u32 reserved;
};
HADAL_LAYOUT(struct hadal_authorization, 40);

/* pod_counters: per CPU, how often a reason met a pod. */
struct hadal_counter_key {
  __u32 pod_index;
  __u32 reason;
};
HADAL_LAYOUT(struct hadal_counter_key, 8);

enum hadal_flow_direction {
  HADAL_FLOW_OUTBOUND = 1,
  HADAL_FLOW_INBOUND = 2,
};

/* untouched_counts: per CPU, connections that the capture left alone, and refusals by a row (then only
 * `failed`). */
struct hadal_untouched_key {
  __u32 pod_index;
  __u32 edge;
  __u16 reason;
  __u8 direction; /* enum hadal_flow_direction */
  __u8 reserved;
  __u32 reserved2;
};
HADAL_LAYOUT(struct hadal_untouched_key, 16);

struct hadal_untouched_counters {
  __u64 opened;
  __u64 closed;
  __u64 failed;
  __u64 bytes_sent; /* from the client towards the server, whichever the pod is */
  __u64 bytes_received;
};
HADAL_LAYOUT(struct hadal_untouched_counters, 40);

/*
 * nameservers: those that a pod has asked or will ask. Each has a slot, and the agent a resolver of its own
 * per slot, so that it knows whom the pod meant. Slots 0 to HADAL_DNS_SLOTS - 1 are IPv4, the rest IPv6; both
 * are filled from their start.
 */
struct hadal_nameserver_key {
  __u32 pod_index;
  __u16 slot;
  __u16 reserved;
};
HADAL_LAYOUT(struct hadal_nameserver_key, 8);

#define HADAL_NAMESERVER_CONFIGURED 1 /* the pod's resolv.conf or the cluster names it, not a query alone */

struct hadal_nameserver {
  struct hadal_address address;
  __u32 flags;
};
HADAL_LAYOUT(struct hadal_nameserver, 20);

/* resolvers: the agent's sockets on the pod's loopback, by slot. One that is closed takes its entry with it.
 */
struct hadal_resolver_key {
  __u32 pod_index;
  __u16 slot;
  __u16 protocol; /* IPPROTO_UDP or IPPROTO_TCP */
};
HADAL_LAYOUT(struct hadal_resolver_key, 8);

/* resolver_ports: the way back, so that an answer shows the nameserver's address; the value is the slot. */
struct hadal_resolver_port_key {
  __u32 pod_index;
  __u16 port;
  __u8 protocol;
  __u8 family; /* 4 or 6 */
};
HADAL_LAYOUT(struct hadal_resolver_port_key, 8);

/* What is wrong with the capture's own bookkeeping; index of the capture_faults array. */
enum hadal_fault {
  HADAL_FAULT_FLOWS_LOST = 0,         /* ring buffer full */
  HADAL_FAULT_FLOW_SLOTS_FULL = 1,    /* the pod's flow limit is reached: not tracked */
  HADAL_FAULT_FLOW_NOT_STORED = 2,    /* no memory for the socket's state: not tracked */
  HADAL_FAULT_COUNTERS_FULL = 3,      /* no room for a per-pod counter */
  HADAL_FAULT_KUBELET_NOT_STORED = 4, /* a probe will meet the plaintext listener */
  HADAL_FAULT_FLOW_RATE = 5,          /* the pod ended more connections in a second than it may report */
  HADAL_FAULT_COUNT = 8,
};

/* pod_budgets: what one pod may take of what all share. */
#define HADAL_FLOW_RECORDS_PER_SECOND 2000

struct hadal_pod_budget {
  __u64 flows_tracked;
  __u64 window_ns; /* start of the current second */
  __u64 window_records;
};
HADAL_LAYOUT(struct hadal_pod_budget, 24);

enum hadal_flow_kind {
  HADAL_FLOW_LIVE = 1,
  HADAL_FLOW_CLOSED = 2,
  HADAL_FLOW_SLIPPED = 3, /* marked for capture, yet its route leads out of the pod */
};

/* One connection of an enrolled pod that no tunnel carries. */
struct hadal_flow {
  __u64 cookie;
  __u64 opened_ns; /* CLOCK_MONOTONIC */
  __u64 duration_ns;
  __u64 bytes_sent; /* by the local side, payload only */
  __u64 bytes_received;
  struct hadal_address local_address;
  struct hadal_address remote_address;
  struct hadal_address asked_address; /* what the process dialled, of a direct outbound one */
  __u16 local_port;
  __u16 remote_port;
  __u16 asked_port;
  __u16 reason;
  __u32 pod_index;
  __u32 peer_pod_index; /* of a direct one */
  __u32 edge;
  __u32 rtt_us;
  __u32 retransmits;
  __u8 kind;      /* enum hadal_flow_kind */
  __u8 direction; /* enum hadal_flow_direction */
  __u8 established;
  __u8 direct; /* the kernel carries it between two pods of this node */
};
HADAL_LAYOUT(struct hadal_flow, 120);

/* A TCP socket of a namespace as the iterators tell it. */
#define HADAL_SOCKET_TRACKED 1  /* seen by the capture and left alone */
#define HADAL_SOCKET_EXEMPT 2   /* the agent's own */
#define HADAL_SOCKET_CAPTURED 4 /* carries the capture's mark */
#define HADAL_SOCKET_DIRECT 8   /* between two pods of this node, by the kernel alone */

struct hadal_socket_record {
  __u64 cookie;
  struct hadal_address local_address;
  struct hadal_address remote_address;
  __u16 local_port;
  __u16 remote_port;
  __u32 flags;
  __u32 mark;
  __u8 state; /* TCP_ESTABLISHED ... */
  __u8 reserved[3];
};
HADAL_LAYOUT(struct hadal_socket_record, 56);

#endif
