import { reasons } from '../model/reasons.gen.ts';

/** Istio's words for why a connection failed; finer ones are in the label `reason`. */
export type ResponseFlags =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED';

const flagsOf = new Map<number, ResponseFlags>([
  [reasons.ROW_REFUSED, 'DENY'],
  [reasons.POLICY_DENIED, 'DENY'],
  [reasons.POLICY_NOT_ALLOWED, 'DENY'],
  [reasons.UNKNOWN_POLICY, 'DENY'],
  [reasons.IDENTITY_MISMATCH, 'DENY'],
  [reasons.POLICY_CHANGED, 'DENY'],
  [reasons.UNKNOWN_DESTINATION, 'CONNECT'],
  [reasons.NO_HEALTHY_ENDPOINT, 'CONNECT'],
  [reasons.NO_SUCH_PORT, 'CONNECT'],
  [reasons.REMOTE_NETWORK, 'CONNECT'],
  [reasons.WAYPOINT_NOT_READY, 'CONNECT'],
  [reasons.CONNECT_REFUSED, 'CONNECT'],
  [reasons.CONNECT_FAILED, 'CONNECT'],
  [reasons.TUNNEL_REFUSED, 'CONNECT'],
  [reasons.TUNNEL_LOST, 'CONNECT'],
  [reasons.CONNECT_TIMEOUT, 'NETWORK_POLICY'],
  [reasons.TLS_HANDSHAKE, 'TLS_FAILURE'],
  [reasons.PEER_IDENTITY, 'TLS_FAILURE'],
  [reasons.TRUST_DOMAIN, 'TLS_FAILURE'],
  [reasons.NO_ALPN, 'TLS_FAILURE'],
  [reasons.H2_PROTOCOL, 'H2_HANDSHAKE_FAILURE'],
  [reasons.H2_FLOOD, 'H2_HANDSHAKE_FAILURE'],
  [reasons.PING_TIMEOUT, 'H2_HANDSHAKE_FAILURE'],
  [reasons.IDENTITY_UNAVAILABLE, 'IDENTITY_ERROR'],
  [reasons.CERT_REVOKED, 'CERT_REVOKED'],
]);

export function responseFlags(reason: number): ResponseFlags {
  return flagsOf.get(reason) ?? '-';
}
