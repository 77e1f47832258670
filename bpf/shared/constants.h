/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that the BPF programs, the native tunnel and TypeScript agree on. */
#ifndef HADAL_SHARED_CONSTANTS_H
#define HADAL_SHARED_CONSTANTS_H

/* Version of every struct in capture.h; part of the pin path, so two versions never share a map. */
#define HADAL_MAP_ABI 3

/* A captured socket carries this mark in its low half; the high half stays whatever it was. */
#define HADAL_MARK 0x4841
#define HADAL_MARK_MASK 0xffff

/* Packets of a machine inside the pod that were given to a socket of the agent; no socket ever sends it. */
#define HADAL_VIRTUAL_MARK 0x4842

/* The rule that sends the mark to a table of `local default dev X` routes, in the pod's network namespace. */
#define HADAL_ROUTE_TABLE 0x4841
#define HADAL_RULE_PRIORITY 100

#define HADAL_HBONE_PORT 15008

/* The three listeners that each worker has in each pod. */
#define HADAL_LISTENER_OUTBOUND 0
#define HADAL_LISTENER_HBONE 1
#define HADAL_LISTENER_PLAINTEXT 2
#define HADAL_MAX_WORKERS 64

/* Nameservers of each family that one pod may ask through the agent; further ones are asked directly. */
#define HADAL_DNS_PORT 53
#define HADAL_DNS_SLOTS 4
/* An agent that has not written its heartbeat for this long gets no queries. */
#define HADAL_HEARTBEAT_STALE_MS 3000
/* Without it for this long no new connection goes directly to a pod of this node. */
#define HADAL_HEARTBEAT_DIRECT_STALE_MS 60000

/* Slots of agent_heartbeat: an agent that ends in order takes back the first at once. */
#define HADAL_HEARTBEAT_NAMES 0
#define HADAL_HEARTBEAT_ROWS 1
#define HADAL_HEARTBEAT_COUNT 2

#endif
