import type { Authorization } from './authorization.ts';
import type { Service } from './service.ts';
import type { MeshResources } from './snapshot.ts';
import type { Workload } from './workload.ts';

/** What changed of one kind. A name stands in one of the two lists, and there once. */
export interface KindChange<T> {
  /** New ones, and new versions of known ones. */
  readonly upserts: readonly T[];
  /** Names: uid, `namespace/hostname`, `namespace/name`. One that is not known is no mistake. */
  readonly removals: readonly string[];
}

/** What changed in the mesh, applied at once: the unit in which a translation, the wire and an agent speak of changes. */
export interface MeshChange {
  readonly workloads: KindChange<Workload>;
  readonly services: KindChange<Service>;
  readonly policies: PolicyChange;
}

export interface PolicyChange extends KindChange<Authorization> {
  /**
   * Names that must not count as gone, because something of that name is there, or may be, and could not be understood:
   * unless a version that was good before is known, workloads that give such a name are refused.
   */
  readonly unknown?: readonly string[];
}

const unchanged: KindChange<never> = Object.freeze({
  upserts: Object.freeze([]),
  removals: Object.freeze([]),
});

export const noChange: MeshChange = Object.freeze({
  workloads: unchanged,
  services: unchanged,
  policies: unchanged,
});

export type MeshChangeFields = {
  readonly [Kind in keyof MeshChange]?: Partial<MeshChange[Kind]>;
};

/** A frozen change; what is not given does not change. */
export function createChange({ workloads, services, policies }: MeshChangeFields): MeshChange {
  return Object.freeze({
    workloads: Object.freeze({ ...unchanged, ...workloads }),
    services: Object.freeze({ ...unchanged, ...services }),
    policies: Object.freeze({ ...unchanged, ...policies }),
  });
}

export function isEmptyChange(change: MeshChange): boolean {
  if ((change.policies.unknown ?? []).length > 0) return false;
  return [change.workloads, change.services, change.policies].every(
    ({ upserts, removals }) => upserts.length === 0 && removals.length === 0,
  );
}

/** The change that makes an empty mesh this one. */
export function changeFrom({ workloads, services, policies }: MeshResources): MeshChange {
  return createChange({
    workloads: { upserts: workloads },
    services: { upserts: services },
    policies: { upserts: policies },
  });
}
