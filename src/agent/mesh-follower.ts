import { setImmediate as nextTurn } from 'node:timers/promises';
import { changeFrom, type KindChange, type MeshChange } from '../model/change.ts';
import { type Changes, diffSnapshots } from '../model/diff.ts';
import { createSnapshot, type MeshResources, type MeshSnapshot } from '../model/snapshot.ts';
import { updateSnapshot } from '../model/update.ts';
import { type KeptVersions, noVersions, type VersionedChange } from '../xds/versioned-change.ts';
import { CapturedRanges, type ClusterRanges } from './capture-ranges.ts';
import type { KeptMesh } from './kept-record.ts';
import type { KeptState } from './kept-state.ts';
import type { DataPath, PodParts } from './parts.ts';

export type Followers = Pick<DataPath, 'kernel' | 'tunnel'> &
  Pick<PodParts, 'enrolment' | 'annotations' | 'resolvers' | 'outboundPolicies'>;

/** What a file tells has no versions. */
const unversioned: KeptVersions = { versions: noVersions, generation: '' };

/**
 * Puts changes of the mesh in force: the decision tables, the kernel's ranges, the enrolment and what is kept on disk follow
 * each, at a cost in proportion to the change.
 */
export class MeshFollower {
  readonly #followers: Followers;
  readonly #kept: KeptState;
  readonly #ranges: CapturedRanges;
  /** False: what the kernel has is not known to be what it should have. */
  #areRangesWritten = false;
  #working: Promise<void> = Promise.resolve();

  constructor(followers: Followers, kept: KeptState, ranges: ClusterRanges) {
    this.#followers = followers;
    this.#kept = kept;
    this.#ranges = new CapturedRanges(ranges);
  }

  get snapshot(): MeshSnapshot {
    return this.#followers.tunnel.snapshot;
  }

  /** Without any state the cluster's ranges are captured, and every destination inside is refused as unknown. */
  captureClusterRanges(): void {
    this.#followers.kernel.capture.setRanges(this.#ranges.all());
  }

  /**
   * In turn. Rejects when a part is not in force, while the rest is: an empty change tries it again.
   * The versions are those of a control plane.
   */
  apply(change: MeshChange, { versions, generation }: KeptVersions = unversioned): Promise<void> {
    return this.#inTurn(() => this.#apply(change, { change, versions, generation }));
  }

  /** What an earlier agent kept comes in force again. */
  restore({ resources, gonePolicies }: KeptMesh): Promise<void> {
    const all = changeFrom(resources);
    const change = { ...all, policies: { ...all.policies, removals: gonePolicies } };
    return this.#inTurn(() => this.#apply(change));
  }

  /** Makes the mesh exactly this one. */
  become(resources: MeshResources): Promise<void> {
    return this.#inTurn(() => {
      const change = changeBetween(this.snapshot, resources);
      return this.#apply(change, { change, ...unversioned });
    });
  }

  #inTurn(apply: () => Promise<void>): Promise<void> {
    const applied = this.#working.then(apply);
    this.#working = applied.catch(() => {});
    return applied;
  }

  async #apply(change: MeshChange, kept?: VersionedChange): Promise<void> {
    const { kernel, tunnel, enrolment, annotations, resolvers, outboundPolicies } = this.#followers;
    const old = tunnel.snapshot;
    const { snapshot, diff } = updateSnapshot(old, change);
    // Of a large mesh each step takes tens of milliseconds; in between others have their turn.
    if (change.workloads.upserts.length > 100) await nextTurn();
    tunnel.setSnapshot(snapshot, diff);
    resolvers.onSnapshot();
    if (kept !== undefined) this.#kept.keep(kept, snapshot);
    const ranges = await this.#ranges.follow(old, snapshot, diff);
    const wereWritten = this.#areRangesWritten;
    this.#areRangesWritten = false;
    if (!wereWritten) kernel.capture.setRanges(this.#ranges.all());
    else if (ranges.added.length + ranges.removed.length > 0) kernel.capture.changeMeshRanges(ranges);
    this.#areRangesWritten = true;
    // With the ranges there: what the registry allows is not refused meanwhile.
    outboundPolicies.onSnapshot();
    enrolment.onSnapshot(diff);
    annotations?.onSnapshot(old, snapshot, diff.workloads);
  }
}

/**
 * What makes one mesh of the other. A policy that the other does not have is unknown to it, not gone: what states a whole mesh
 * says nothing of what it leaves out.
 */
function changeBetween(old: MeshSnapshot, resources: MeshResources): MeshChange {
  const next = createSnapshot(resources);
  const { workloads, services, policies } = diffSnapshots(old, next);
  return {
    workloads: kindChange(next.workloads, workloads),
    services: kindChange(next.services, services),
    policies: { ...kindChange(next.policies, policies), unknown: [...policies.removed, ...old.gonePolicies] },
  };
}

function kindChange<T>(next: ReadonlyMap<string, T>, { added, changed, removed }: Changes): KindChange<T> {
  return { upserts: [...added, ...changed].flatMap((name) => next.get(name) ?? []), removals: removed };
}
