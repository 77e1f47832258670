import { type Authorization, policyKey, policyReach } from '../model/authorization.ts';
import { dependency } from '../model/diff.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';

/** A policy that applies, and of which nobody here knows what it says. */
export interface UnknownPolicy {
  /** `namespace/name`. */
  readonly name: string;
  readonly why: string;
}

/** Policies that apply to a workload; names of policies that are known to be gone are in none of the lists. */
export interface Candidates {
  readonly denying: readonly Authorization[];
  readonly allowing: readonly Authorization[];
  /** Dry runs and audits. */
  readonly told: readonly Authorization[];
  readonly unknown: readonly UnknownPolicy[];
}

/** By the indexes of the snapshot: what does not apply costs nothing, however much of it there is. */
export function candidatesFor(
  snapshot: MeshSnapshot,
  { namespace, authorizationPolicies }: Workload,
): Candidates {
  const applicable = new Set([...snapshot.globalPolicies, ...snapshot.policiesIn(namespace)]);
  const unknown: UnknownPolicy[] = [];
  for (const name of authorizationPolicies) {
    const policy = snapshot.policies.get(name);
    if (policy !== undefined) applicable.add(policy);
    else if (!snapshot.gonePolicies.has(name)) unknown.push(missing(name));
  }
  const all = [...applicable];
  const enforced = all.filter(({ dryRun }) => !dryRun);
  const understood = enforced.filter(isUnderstood);
  return {
    denying: understood.filter(({ action }) => action === 'DENY'),
    allowing: understood.filter(({ action }) => action === 'ALLOW'),
    told: all.filter(({ dryRun }) => dryRun),
    unknown: [...enforced.filter((policy) => !isUnderstood(policy)).map(strange), ...unknown],
  };
}

/** As if dry runs were enforced; undefined where none applies. Audits never are. */
export function withDryRuns(candidates: Candidates): Candidates | undefined {
  const { denying, allowing, told, unknown } = candidates;
  const dry = told.filter(({ action }) => action !== 'AUDIT');
  if (dry.length === 0) return undefined;
  const understood = dry.filter(isUnderstood);
  return {
    denying: [...denying, ...understood.filter(({ action }) => action === 'DENY')],
    allowing: [...allowing, ...understood.filter(({ action }) => action === 'ALLOW')],
    told: [],
    unknown: [...unknown, ...dry.filter((policy) => !isUnderstood(policy)).map(strange)],
  };
}

/** Keys of all that could change which policies apply, or what they say. */
export function dependenciesOf({ namespace, authorizationPolicies }: Workload): readonly string[] {
  return Object.freeze([
    dependency.global,
    dependency.namespace(namespace),
    ...authorizationPolicies.map(dependency.policy),
  ]);
}

function isUnderstood({ notUnderstood }: Authorization): boolean {
  return notUnderstood === undefined;
}

function missing(name: string): UnknownPolicy {
  return { name, why: `the workload names policy ${name}, which is not known here: refused until it is` };
}

function strange(policy: Authorization): UnknownPolicy {
  const name = policyKey(policy);
  const why = `policy ${name}, for ${policyReach(policy)}, is not understood here (${policy.notUnderstood}): refused until it is, or is removed`;
  return { name, why };
}
