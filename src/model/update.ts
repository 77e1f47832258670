import { isDeepStrictEqual } from 'node:util';
import { type Authorization, policyKey } from './authorization.ts';
import { changeFrom, type KindChange, type MeshChange, type PolicyChange } from './change.ts';
import {
  addGoneKeys,
  addNames,
  addPolicyKeys,
  addServiceKeys,
  addWorkloadKeys,
  type Changes,
  dependency,
  type SnapshotDiff,
} from './diff.ts';
import type { NamedValues } from './named-values.ts';
import { PersistentSnapshot, type Step } from './persistent-snapshot.ts';
import { type Service, serviceKey } from './service.ts';
import type { MeshSnapshot } from './snapshot.ts';
import type { Workload } from './workload.ts';

export interface SnapshotUpdate {
  readonly snapshot: MeshSnapshot;
  readonly diff: SnapshotDiff;
}

/**
 * The mesh after a change, and the difference, as `createSnapshot` and `diffSnapshots` would make them of all resources. Costs
 * as much as the change is large; `old` stays valid. The first update of a snapshot that `createSnapshot` made costs as much as
 * that mesh is large. Removals come before upserts, of two upserts with one name the last counts.
 */
export function updateSnapshot(old: MeshSnapshot, change: MeshChange): SnapshotUpdate {
  const base = PersistentSnapshot.isOne(old) ? old : persistent(old);
  const workloads = stepsOf(base.workloads, change.workloads, ({ uid }) => uid);
  const services = stepsOf(base.services, change.services, serviceKey);
  const policies = stepsOf(base.policies, change.policies, policyKey);
  const snapshot = base.after({ workloads, services, policies, ...goneAndBack(change.policies) });
  return Object.freeze({ snapshot, diff: diffOf(base, snapshot, { workloads, services, policies }) });
}

function persistent(old: MeshSnapshot): PersistentSnapshot {
  const resources = {
    workloads: [...old.workloads.values()],
    services: [...old.services.values()],
    policies: [...old.policies.values()],
  };
  const all = changeFrom(resources);
  const change = { ...all, policies: { ...all.policies, removals: [...old.gonePolicies] } };
  return updateSnapshot(PersistentSnapshot.empty, change).snapshot as PersistentSnapshot;
}

/** What really changes, in the order of names: equal content is no change, and the object known stays. */
function stepsOf<T>(
  known: NamedValues<T>,
  { upserts, removals }: KindChange<T>,
  nameOf: (value: T) => string,
): Step<T>[] {
  const next = new Map<string, T | undefined>();
  for (const name of removals) next.set(name, undefined);
  for (const value of upserts) next.set(nameOf(value), value);
  const steps: Step<T>[] = [];
  for (const [name, after] of next) {
    const before = known.get(name);
    if (before !== after && !isDeepStrictEqual(before, after)) steps.push({ name, before, after });
  }
  return steps.sort((left, right) => (left.name < right.name ? -1 : 1));
}

function goneAndBack({ upserts, removals, unknown = [] }: PolicyChange): {
  readonly gone: readonly string[];
  readonly back: readonly string[];
} {
  return { gone: removals, back: [...upserts.map(policyKey), ...unknown] };
}

interface Steps {
  readonly workloads: readonly Step<Workload>[];
  readonly services: readonly Step<Service>[];
  readonly policies: readonly Step<Authorization>[];
}

function diffOf(old: MeshSnapshot, next: MeshSnapshot, steps: Steps): SnapshotDiff {
  const keys = new Set<string>();
  touch(steps.workloads, (workload) => addWorkloadKeys(keys, workload));
  touch(steps.services, (service) => addServiceKeys(keys, service));
  touch(steps.policies, (policy) => addPolicyKeys(keys, policy));
  const workloads = changesOf(steps.workloads);
  const services = changesOf(steps.services);
  const policies = changesOf(steps.policies);
  addNames(keys, workloads, dependency.workload);
  addNames(keys, services, dependency.service);
  addNames(keys, policies, dependency.policy);
  addGoneKeys(keys, old.gonePolicies, next.gonePolicies);
  return Object.freeze({ workloads, services, policies, keys });
}

function touch<T>(steps: readonly Step<T>[], look: (value: T) => void): void {
  for (const { before, after } of steps) {
    if (before !== undefined) look(before);
    if (after !== undefined) look(after);
  }
}

function changesOf(steps: readonly Step<unknown>[]): Changes {
  const added: string[] = [];
  const changed: string[] = [];
  const removed: string[] = [];
  for (const { name, before, after } of steps) {
    if (before === undefined) added.push(name);
    else if (after === undefined) removed.push(name);
    else changed.push(name);
  }
  return Object.freeze({ added, changed, removed });
}
