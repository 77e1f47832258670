import { reasons } from '../model/reasons.gen.ts';
import type { OutboundKey, OutboundRow } from '../native/types.ts';

/** The kernel's side of a refusal: the next connect() of this pod to this destination fails at once. */
export interface ConnectRefusals {
  refuse(key: OutboundKey, reason: number, edge: number): void;
  lift(key: OutboundKey): void;
}

/**
 * Refusals that the mesh state alone decides: they hold for every connection of the pod to this address and port until the
 * state changes, and then the row is derived again. Not among them: what depends on this connection, or on the pod's
 * own workload or certificate, which are about to arrive.
 */
const stable: ReadonlySet<number> = new Set([
  reasons.UNKNOWN_DESTINATION,
  reasons.NO_HEALTHY_ENDPOINT,
  reasons.NO_SUCH_PORT,
  reasons.REMOTE_NETWORK,
  reasons.WAYPOINT_NOT_READY,
  reasons.UNSUPPORTED_PROTOCOL,
  reasons.SELF_CALL,
]);

export function isStableRefusal(row: OutboundRow): boolean {
  return stable.has(row.reason);
}
