import type { MeshChange } from '../model/change.ts';
import type { MeshResources } from '../model/snapshot.ts';

export type ResourceKind = keyof MeshResources;

/** Versions of resources by name, as their server states them. */
export type ResourceVersions = { readonly [Kind in ResourceKind]: ReadonlyMap<string, string> };

/** A change, and the version of each resource that it brings: who keeps one must keep the other with it. */
export interface VersionedChange {
  readonly change: MeshChange;
  readonly versions: ResourceVersions;
  /** How much the control plane had seen (generation.ts), with the change in force; '' where it does not say. */
  readonly generation: string;
}

/** What was in force before, and how much the control plane that told it had seen. */
export type KeptVersions = Omit<VersionedChange, 'change'>;

export const noVersions: ResourceVersions = Object.freeze({
  workloads: new Map(),
  services: new Map(),
  policies: new Map(),
});

/** Of changes that were merged, one after the other. */
export function mergeVersions(all: readonly ResourceVersions[]): ResourceVersions {
  const of = (kind: ResourceKind) => new Map(all.flatMap((versions) => [...versions[kind]]));
  return { workloads: of('workloads'), services: of('services'), policies: of('policies') };
}
