import { type Authorization, policyKey, policyReach } from '../model/authorization.ts';
import { dependency } from '../model/diff.ts';
import { reasons } from '../model/reasons.gen.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import { formatSpiffeId } from '../model/spiffe-id.ts';
import type { Workload } from '../model/workload.ts';
import { type ConnectionFacts, ruleMatches } from './match.ts';

export interface DecidingPolicy {
  /** `namespace/name`. */
  readonly name: string;
  /** Index of the rule that matched; undefined when the policy decided without one. */
  readonly rule: number | undefined;
}

export interface PolicyVerdict {
  /** NONE: allowed; POLICY_DENIED, POLICY_NOT_ALLOWED or UNKNOWN_POLICY. */
  readonly reason: number;
  readonly policy: DecidingPolicy | undefined;
  readonly dependencies: readonly string[];
  readonly explanation: readonly string[];
}

/** A policy that applies, and of which nobody here knows what it says. */
interface UnknownPolicy {
  readonly name: string;
  readonly why: string;
}

/** Policies that apply to a workload; names of policies that are known to be gone are in none of the lists. */
interface Candidates {
  readonly enforced: readonly Authorization[];
  readonly dryRun: readonly Authorization[];
  readonly unknown: readonly UnknownPolicy[];
  readonly dependencies: readonly string[];
}

/**
 * May this connection enter the workload? A matching DENY refuses; else a policy refuses that is named and not known, or that
 * nobody here understands, since what it says may be a DENY; else any matching ALLOW lets it in; else it is let in only where no
 * ALLOW applies.
 */
export function authorize(snapshot: MeshSnapshot, workload: Workload, facts: ConnectionFacts): PolicyVerdict {
  const candidates = candidatesFor(snapshot, workload);
  const explanation = [describeConnection(facts), ...describeDryRun(candidates.dryRun, facts)];
  const verdict = decide(candidates, facts, explanation);
  return Object.freeze({
    ...verdict,
    dependencies: candidates.dependencies,
    explanation: Object.freeze(explanation),
  });
}

type Decision = Pick<PolicyVerdict, 'reason' | 'policy'>;

function decide(candidates: Candidates, facts: ConnectionFacts, explanation: string[]): Decision {
  const denied = firstMatch(candidates.enforced, 'DENY', facts);
  if (denied !== undefined) {
    explanation.push(`DENY policy ${denied.name} matches by ${describeRule(denied)}: refused`);
    return { reason: reasons.POLICY_DENIED, policy: denied };
  }
  const [unknown] = candidates.unknown;
  if (unknown !== undefined) {
    explanation.push(unknown.why);
    return { reason: reasons.UNKNOWN_POLICY, policy: { name: unknown.name, rule: undefined } };
  }
  const allowing = candidates.enforced.filter(({ action }) => action === 'ALLOW');
  if (allowing.length === 0) {
    explanation.push('no DENY policy matches and no ALLOW policy applies: allowed');
    return { reason: reasons.NONE, policy: undefined };
  }
  const allowed = firstMatch(allowing, 'ALLOW', facts);
  if (allowed !== undefined) {
    explanation.push(`ALLOW policy ${allowed.name} matches by ${describeRule(allowed)}: allowed`);
    return { reason: reasons.NONE, policy: allowed };
  }
  explanation.push(`none of the ALLOW policies ${allowing.map(policyKey).join(', ')} matches: refused`);
  return { reason: reasons.POLICY_NOT_ALLOWED, policy: undefined };
}

function firstMatch(
  policies: readonly Authorization[],
  action: Authorization['action'],
  facts: ConnectionFacts,
): DecidingPolicy | undefined {
  for (const policy of policies) {
    const rule = policy.action === action ? policy.rules.findIndex((each) => ruleMatches(each, facts)) : -1;
    if (rule >= 0) {
      return { name: policyKey(policy), rule };
    }
  }
  return undefined;
}

function candidatesFor(snapshot: MeshSnapshot, workload: Workload): Candidates {
  const named = workload.authorizationPolicies;
  const applicable = new Set([...snapshot.globalPolicies, ...snapshot.policiesIn(workload.namespace)]);
  const unknown: UnknownPolicy[] = [];
  for (const name of named) {
    const policy = snapshot.policies.get(name);
    if (policy !== undefined) {
      applicable.add(policy);
    } else if (!snapshot.gonePolicies.has(name)) {
      const why = `the workload names policy ${name}, which is not known here: refused until it is`;
      unknown.push({ name, why });
    }
  }
  const all = [...applicable];
  const enforced = all.filter(({ dryRun }) => !dryRun);
  return {
    enforced: enforced.filter(isUnderstood),
    dryRun: all.filter(({ dryRun }) => dryRun),
    unknown: [...enforced.filter((policy) => !isUnderstood(policy)).map(notUnderstood), ...unknown],
    dependencies: [
      dependency.global,
      dependency.namespace(workload.namespace),
      ...named.map(dependency.policy),
    ],
  };
}

function isUnderstood(policy: Authorization): boolean {
  return policy.notUnderstood === undefined;
}

function notUnderstood(policy: Authorization): UnknownPolicy {
  const name = policyKey(policy);
  const why = `policy ${name}, for ${policyReach(policy)}, is not understood here (${policy.notUnderstood}): refused until it is, or is removed`;
  return { name, why };
}

function describeConnection(facts: ConnectionFacts): string {
  const who = facts.identity === undefined ? 'a peer without identity' : formatSpiffeId(facts.identity);
  const from = facts.sourceAddress.text;
  return `policies are asked for ${who} from ${from} to ${facts.destinationAddress.text} port ${facts.destinationPort}`;
}

function describeDryRun(policies: readonly Authorization[], facts: ConnectionFacts): string[] {
  return policies.map((policy) => {
    if (!isUnderstood(policy))
      return `dry run: policy ${policyKey(policy)} is not understood here (${policy.notUnderstood}); not enforced`;
    const matches = policy.rules.some((rule) => ruleMatches(rule, facts));
    return `dry run: ${policy.action} policy ${policyKey(policy)} ${matches ? 'would match' : 'would not match'}; not enforced`;
  });
}

function describeRule(policy: DecidingPolicy): string {
  return `rule ${(policy.rule ?? 0) + 1}`;
}
