import { policyKey } from '../model/authorization.ts';
import { peerAuthenticationPolicy } from '../model/peer-authentication.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { candidatesFor, dependenciesOf } from './candidates.ts';
import { type ConnectionFacts, firstMatchingRule, seenConnection } from './match.ts';

export interface MutualTlsDemand {
  /** `namespace/name` of the policy that a PeerAuthentication became; undefined: connections without identity may enter. */
  readonly policy: string | undefined;
  readonly dependencies: readonly string[];
}

/** Whether a PeerAuthentication of mode STRICT is in force for this port of the workload. */
export function mutualTlsDemand(
  snapshot: MeshSnapshot,
  workload: Workload,
  facts: Omit<ConnectionFacts, 'identity'>,
): MutualTlsDemand {
  const seen = seenConnection({ ...facts, identity: undefined });
  const strict = candidatesFor(snapshot, workload).denying.find(
    (policy) =>
      peerAuthenticationPolicy.isOne(policy.name) && firstMatchingRule(policy.rules, seen) !== undefined,
  );
  return Object.freeze({
    policy: strict === undefined ? undefined : policyKey(strict),
    dependencies: dependenciesOf(workload),
  });
}
