import { reasons } from '../model/reasons.gen.ts';

/**
 * Refusals that open connections do not survive either: somebody says that these two must not talk. The others say that a new
 * connection cannot be made now, since an endpoint is not ready, say, or that something is not known yet; what is open goes on,
 * and is judged again with the next change.
 */
const lasting: ReadonlySet<number> = new Set([
  reasons.POLICY_DENIED,
  reasons.POLICY_NOT_ALLOWED,
  reasons.IDENTITY_MISMATCH,
  reasons.TRUST_DOMAIN,
]);

export function endsOpenConnections(reason: number): boolean {
  return lasting.has(reason);
}
