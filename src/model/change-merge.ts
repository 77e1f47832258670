import { policyKey } from './authorization.ts';
import { createChange, type KindChange, type MeshChange } from './change.ts';
import { serviceKey } from './service.ts';

/** Changes, one after the other, as one that does the same. */
export function mergeChanges(changes: readonly MeshChange[]): MeshChange {
  const [first] = changes;
  if (first !== undefined && changes.length === 1) return first;
  const policies = changes.map((change) => change.policies);
  const unknown = new Set<string>();
  for (const { upserts, removals, unknown: more = [] } of policies) {
    for (const name of [...removals, ...upserts.map(policyKey)]) unknown.delete(name);
    for (const name of more) unknown.add(name);
  }
  return createChange({
    workloads: merge(
      changes.map(({ workloads }) => workloads),
      ({ uid }) => uid,
    ),
    services: merge(
      changes.map(({ services }) => services),
      serviceKey,
    ),
    policies: { ...merge(policies, policyKey), ...(unknown.size > 0 && { unknown: [...unknown] }) },
  });
}

function merge<T>(changes: readonly KindChange<T>[], nameOf: (value: T) => string): KindChange<T> {
  const upserts = new Map<string, T>();
  const removals = new Set<string>();
  for (const change of changes) {
    for (const name of change.removals) {
      upserts.delete(name);
      removals.add(name);
    }
    for (const value of change.upserts) {
      removals.delete(nameOf(value));
      upserts.set(nameOf(value), value);
    }
  }
  return { upserts: [...upserts.values()], removals: [...removals] };
}
