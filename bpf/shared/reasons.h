/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every refusal, bypass and early end of a connection has one of these numbers. BPF, the native tunnel and
 * TypeScript (src/model/reasons.gen.ts, made from this file) share the list. Numbers are part of metrics and
 * flow records: never reuse one, never change a meaning; retire with the comment "retired".
 *
 * X(number, NAME, "name in metrics", "sentence for an operator")
 */
#ifndef HADAL_SHARED_REASONS_H
#define HADAL_SHARED_REASONS_H

#define HADAL_REASONS(X)                                                                                  \
  X(0, NONE, "none", "nothing went wrong")                                                                \
  /* 1..39: the kernel left the connection alone */                                                       \
  X(1, NOT_TCP, "not_tcp", "not TCP, which is not carried")                                               \
  X(2, NOT_ENROLLED, "not_enrolled", "the network namespace belongs to no enrolled pod")                  \
  X(3, AGENT_SOCKET, "agent_socket", "a socket of the agent itself")                                      \
  X(4, LOOPBACK, "loopback", "loopback or unspecified destination")                                       \
  X(5, OWN_ADDRESS, "own_address", "the pod calls itself by its own address")                             \
  X(6, OUTSIDE_MESH, "outside_mesh", "destination outside the mesh and the cluster's ranges")             \
  X(7, ROW_UNTOUCHED, "row_untouched", "a decision row says to leave the connection alone")               \
  X(8, AGENT_DELIVERY, "agent_delivery", "the agent delivers to the application over lo")                 \
  X(9, KUBELET, "kubelet", "made by the kubelet, which probes the application directly")                  \
  X(10, AUTHORIZED, "authorized", "the kernel already let this connection in")                            \
  X(11, DNS_RESOLVER_AWAY, "dns_resolver_away",                                                           \
    "a query left to its nameserver: the agent that would answer does not run")                           \
  X(12, DNS_NOT_STEERED, "dns_not_steered",                                                               \
    "a query left to its nameserver: bound to an interface, or the pod asks too many nameservers")        \
  X(13, INBOUND_BYPASSED, "inbound_bypassed",                                                             \
    "in clear and past every policy: the annotation ambient.istio.io/bypass-inbound-capture of the pod")  \
  X(14, EXCLUDED_OUTBOUND, "excluded_outbound",                                                           \
    "an annotation traffic.sidecar.istio.io/... of the pod leaves this destination alone")                \
  X(15, EXCLUDED_INBOUND, "excluded_inbound",                                                             \
    "in clear and past every policy: an annotation traffic.sidecar.istio.io/... excludes the port")       \
  X(16, DIRECT, "direct", "carried by the kernel to a pod of this node")                                  \
  /* 40..79: the kernel steered it */                                                                     \
  X(40, CAPTURED_OUTBOUND, "captured_outbound", "steered to the agent's outbound listener")               \
  X(41, CAPTURED_HBONE, "captured_hbone", "steered to the agent's HBONE listener")                        \
  X(42, CAPTURED_PLAINTEXT, "captured_plaintext", "steered to the agent's plaintext listener")            \
  X(43, MARKED, "marked", "connect() was marked for capture")                                             \
  X(44, DNS_STEERED, "dns_steered", "a query was steered to the agent's resolver")                        \
  X(45, CAPTURED_VIRTUAL, "captured_virtual",                                                             \
    "given to the agent's outbound listener: made by a machine inside the pod")                           \
  X(46, DIRECT_AGENT_SILENT, "direct_agent_silent",                                                       \
    "not taken directly: the agent has given no sign of life for a minute")                               \
  X(47, DIRECT_POD_GONE, "direct_pod_gone",                                                               \
    "not taken directly: the destination pod is not enrolled any more")                                   \
  X(48, DIRECT_NO_TARGET, "direct_no_target",                                                             \
    "not taken directly: the endpoint that was picked is gone, or of another family")                     \
  X(49, DIRECT_NOT_STORED, "direct_not_stored", "not taken directly: the socket has no option memory")    \
  X(50, DIRECT_NOT_TRACKABLE, "direct_not_trackable",                                                     \
    "not taken directly: Multipath TCP or Fast Open, whose bytes nobody could hold back")                 \
  X(51, DIRECT_QUOTA, "direct_quota",                                                                     \
    "not taken directly: the pod has as many connections tracked as it may")                              \
  X(52, DIRECT_NOT_AUTHORIZED, "direct_not_authorized",                                                   \
    "not taken directly: the table of authorized connections is full")                                    \
  /* 80..119: the kernel refused it */                                                                    \
  X(80, ROW_REFUSED, "row_refused", "a decision row refuses this destination at connect()")               \
  X(81, NO_LISTENER, "no_listener", "the agent that would carry the connection is not running")           \
  X(82, MARK_FAILED, "mark_failed", "the socket could not be marked for capture")                         \
  X(83, SOCKET_STORAGE_FULL, "socket_storage_full", "the socket's option memory is exhausted")            \
  X(84, SOURCE_NOT_REGISTERED, "source_not_registered", "the source address does not belong to the pod")  \
  X(85, OLDER_THAN_ENROLMENT, "older_than_enrolment",                                                     \
    "older than the pod's enrolment and refused by policy")                                               \
  X(86, SLIPPED_THROUGH, "slipped_through", "left uncaptured while a rule or route was missing")          \
  X(87, LEAK_STOPPED, "leak_stopped",                                                                     \
    "a packet of a captured connection was stopped on its way out of the pod")                            \
  X(88, VIRTUAL_NOT_CAPTURED, "virtual_not_captured",                                                     \
    "a packet of a machine inside the pod that could not be captured was stopped")                        \
  X(89, EGRESS_REFUSED, "egress_refused",                                                                 \
    "outside of the mesh, and the outbound traffic policy is REGISTRY_ONLY")                              \
  X(90, DESTINATION_NOT_SEEN, "destination_not_seen",                                                     \
    "reset without a byte: somebody else answered at the address of an enrolled pod")                     \
  /* 120..159: judged and refused */                                                                      \
  X(120, UNKNOWN_DESTINATION, "unknown_destination", "nobody in the mesh knows the destination address")  \
  X(121, NO_HEALTHY_ENDPOINT, "no_healthy_endpoint", "the service has no healthy endpoint")               \
  X(122, NO_SUCH_PORT, "no_such_port", "the service does not have this port")                             \
  X(123, REMOTE_NETWORK, "remote_network", "the endpoint is on another network")                          \
  X(124, WAYPOINT_NOT_READY, "waypoint_not_ready",                                                        \
    "the waypoint that must carry this is absent or not ready")                                           \
  X(125, POLICY_DENIED, "policy_denied", "a DENY policy matches")                                         \
  X(126, POLICY_NOT_ALLOWED, "policy_not_allowed", "ALLOW policies exist and none matches")               \
  X(127, UNKNOWN_POLICY, "unknown_policy",                                                                \
    "a policy that is for the workload is not known or not understood by the agent")                      \
  X(128, UNKNOWN_WORKLOAD, "unknown_workload", "the pod's own workload is not known yet")                 \
  X(129, SELF_CALL, "self_call", "the connection would call the agent's own port")                        \
  X(130, IP_MISMATCH, "ip_mismatch", "the CONNECT authority is not an address of this pod")               \
  X(131, BAD_AUTHORITY, "bad_authority", "the CONNECT authority cannot be parsed")                        \
  X(132, BAD_METHOD, "bad_method", "a request that is not CONNECT")                                       \
  X(133, DECISION_TIMEOUT, "decision_timeout", "no decision arrived in time")                             \
  X(134, QUOTA, "quota", "the workload's quota is used up")                                               \
  X(135, UNSUPPORTED_PROTOCOL, "unsupported_protocol", "the workload's tunnel protocol is not supported") \
  X(136, IDENTITY_MISMATCH, "identity_mismatch",                                                          \
    "the pod's service account is not the one in the mesh state")                                         \
  /* 160..199: failed on the way */                                                                       \
  X(160, CONNECT_REFUSED, "connect_refused", "the other side refused the TCP connection")                 \
  X(161, CONNECT_TIMEOUT, "connect_timeout",                                                              \
    "the TCP connection timed out; is a NetworkPolicy blocking port 15008?")                              \
  X(162, CONNECT_FAILED, "connect_failed", "the TCP connection failed")                                   \
  X(163, TLS_HANDSHAKE, "tls_handshake", "the TLS handshake failed")                                      \
  X(164, PEER_IDENTITY, "peer_identity", "the peer's certificate does not name an expected identity")     \
  X(165, TRUST_DOMAIN, "trust_domain", "the peer's certificate is of another trust domain")               \
  X(166, NO_ALPN, "no_alpn", "the peer did not agree on h2")                                              \
  X(167, H2_PROTOCOL, "h2_protocol", "the peer broke the HTTP/2 protocol")                                \
  X(168, H2_FLOOD, "h2_flood", "the peer exceeded an HTTP/2 flood limit")                                 \
  X(169, TUNNEL_REFUSED, "tunnel_refused", "the other side answered the CONNECT with an error status")    \
  X(170, TUNNEL_LOST, "tunnel_lost", "the tunnel connection was lost")                                    \
  X(171, PING_TIMEOUT, "ping_timeout", "the peer did not answer a PING")                                  \
  X(172, IDENTITY_UNAVAILABLE, "identity_unavailable", "no valid certificate for the workload")           \
  X(173, RESET_BY_SOURCE, "reset_by_source", "the source reset the connection")                           \
  X(174, RESET_BY_DESTINATION, "reset_by_destination", "the destination reset the connection")            \
  X(175, DRAINED, "drained", "the agent drained and the deadline passed")                                 \
  X(176, POD_REMOVED, "pod_removed", "the pod was removed")                                               \
  X(177, POLICY_CHANGED, "policy_changed", "closed because the policy changed")                           \
  X(178, INTERNAL, "internal", "an internal error of the agent; please report it")                        \
  X(179, OUT_OF_RESOURCES, "out_of_resources", "file descriptors, ports or memory ran out")               \
  X(180, CERT_REVOKED, "cert_revoked", "a certificate of the peer was revoked")                           \
  X(181, TUNNEL_REQUIRED, "tunnel_required",                                                              \
    "it went directly between two pods of the node, which must use the tunnel now")

#define HADAL_REASON_ENUM(number, name, metric, text) HADAL_REASON_##name = number,
enum hadal_reason { HADAL_REASONS(HADAL_REASON_ENUM) HADAL_REASON_MAX = 256 };
#undef HADAL_REASON_ENUM

#endif
