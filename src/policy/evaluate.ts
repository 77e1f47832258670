import { type Authorization, type AuthorizationAction, policyKey } from '../model/authorization.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import { type Candidates, candidatesFor, dependenciesOf, withDryRuns } from './candidates.ts';
import { type ConnectionFacts, firstMatchingRule, type SeenConnection, seenConnection } from './match.ts';

export interface DecidingPolicy {
  /** `namespace/name`. */
  readonly name: string;
  /** Index of the rule that matched; undefined when the policy decided without one. */
  readonly rule: number | undefined;
}

/** What a policy says that is never enforced. */
export interface ToldPolicy {
  /** `namespace/name`. */
  readonly name: string;
  readonly action: AuthorizationAction;
  /** Index of the rule that matches; undefined: none does. */
  readonly rule: number | undefined;
  /** Why nobody here knows what it says; absent of any other. */
  readonly notUnderstood?: string;
}

export interface PolicyDecision {
  /** NONE: allowed; POLICY_DENIED, POLICY_NOT_ALLOWED or UNKNOWN_POLICY. */
  readonly reason: number;
  readonly policy: DecidingPolicy | undefined;
}

export interface PolicyVerdict extends PolicyDecision {
  /** What it would be if the dry runs were enforced; undefined where none applies. */
  readonly withDryRuns: PolicyDecision | undefined;
  /** Dry runs and audits that apply, whether they match or not: beside the verdict, never part of it. */
  readonly told: readonly ToldPolicy[];
  /** Keys of `diffSnapshots().keys`: evaluate again when one of them changed. */
  readonly dependencies: readonly string[];
  /** All that was asked, for whoever explains. */
  readonly candidates: Candidates;
}

/**
 * May this connection enter the workload? A matching DENY refuses; else a policy refuses that is named and not known, or that
 * nobody here understands, since what it says may be a DENY; else any matching ALLOW lets it in; else it is let in only where no
 * ALLOW applies. Says nothing in words: it is asked for every new row.
 */
export function evaluate(snapshot: MeshSnapshot, workload: Workload, facts: ConnectionFacts): PolicyVerdict {
  const candidates = candidatesFor(snapshot, workload);
  const seen = seenConnection(facts);
  const asIfEnforced = withDryRuns(candidates);
  return Object.freeze({
    ...decide(candidates, seen),
    withDryRuns: asIfEnforced && decide(asIfEnforced, seen),
    told: Object.freeze(candidates.told.map((policy) => tell(policy, seen))),
    dependencies: dependenciesOf(workload),
    candidates,
  });
}

function decide({ denying, allowing, unknown }: Candidates, seen: SeenConnection): PolicyDecision {
  const denied = firstMatch(denying, seen);
  if (denied !== undefined) return { reason: reasons.POLICY_DENIED, policy: denied };
  const [first] = unknown;
  if (first !== undefined) {
    return { reason: reasons.UNKNOWN_POLICY, policy: { name: first.name, rule: undefined } };
  }
  if (allowing.length === 0) return { reason: reasons.NONE, policy: undefined };
  const allowed = firstMatch(allowing, seen);
  const reason = allowed === undefined ? reasons.POLICY_NOT_ALLOWED : reasons.NONE;
  return { reason, policy: allowed };
}

function firstMatch(policies: readonly Authorization[], seen: SeenConnection): DecidingPolicy | undefined {
  for (const policy of policies) {
    const rule = firstMatchingRule(policy.rules, seen);
    if (rule !== undefined) return { name: policyKey(policy), rule };
  }
  return undefined;
}

function tell(policy: Authorization, seen: SeenConnection): ToldPolicy {
  const { action, rules, notUnderstood } = policy;
  return Object.freeze({
    name: policyKey(policy),
    action,
    rule: firstMatchingRule(rules, seen),
    ...(notUnderstood !== undefined && { notUnderstood }),
  });
}
