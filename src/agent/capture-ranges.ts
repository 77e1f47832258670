import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CaptureRanges } from '../kernel/capture.ts';
import { parseAddress } from '../model/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../model/cidr.ts';
import type { SnapshotDiff } from '../model/diff.ts';
import { meshSettingsOf } from '../model/mesh-settings.ts';
import type { Service } from '../model/service.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';

export interface ClusterRanges {
  readonly pods: readonly Cidr[];
  readonly services: readonly Cidr[];
  readonly network: string;
}

export interface RangeChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** Resources looked at between two turns of the event loop. */
const stepSize = 500;

/**
 * What the kernel captures without a row: the cluster's ranges, and every address of the mesh outside of them. Addresses of
 * other networks are not ours to capture. Follows the mesh change by change: one costs as much as it is large.
 */
export class CapturedRanges {
  readonly #ranges: ClusterRanges;
  readonly #known: readonly Cidr[];
  /** How many resources have an address or range of the mesh. */
  readonly #owners = new Map<string, number>();

  constructor(ranges: ClusterRanges) {
    this.#ranges = ranges;
    this.#known = [...ranges.pods, ...ranges.services];
  }

  all(): CaptureRanges {
    const texts = (ranges: readonly Cidr[]) => ranges.map(({ text }) => text);
    return {
      pods: texts(this.#ranges.pods),
      services: texts(this.#ranges.services),
      mesh: [...this.#owners.keys()],
    };
  }

  /** What a change of the mesh does to them. Of a large one others have their turn meanwhile; calls must not overlap. */
  async follow(old: MeshSnapshot, next: MeshSnapshot, diff: SnapshotDiff): Promise<RangeChange> {
    const touched = new Map<string, number>();
    let looked = 0;
    for (const [text, by] of this.#steps(old, next, diff)) {
      const before = this.#owners.get(text) ?? 0;
      if (!touched.has(text)) touched.set(text, before);
      if (before + by === 0) this.#owners.delete(text);
      else this.#owners.set(text, before + by);
      if (++looked % stepSize === 0) await nextTurn();
    }
    const changed = [...touched].filter(([text, before]) => before > 0 !== this.#owners.has(text));
    return {
      added: changed.filter(([, before]) => before === 0).map(([text]) => text),
      removed: changed.filter(([, before]) => before > 0).map(([text]) => text),
    };
  }

  *#steps(
    old: MeshSnapshot,
    next: MeshSnapshot,
    { workloads, services }: SnapshotDiff,
  ): Generator<[string, number]> {
    for (const uid of [...workloads.added, ...workloads.changed, ...workloads.removed]) {
      yield* counted(this.#ofWorkload(old.workloads.get(uid)), -1);
      yield* counted(this.#ofWorkload(next.workloads.get(uid)), 1);
    }
    for (const name of [...services.added, ...services.changed, ...services.removed]) {
      yield* counted(this.#ofService(old.services.get(name)), -1);
      yield* counted(this.#ofService(next.services.get(name)), 1);
    }
  }

  *#ofWorkload(workload: Workload | undefined): Generator<string> {
    // The host's addresses are also those of what is not in the mesh.
    if (workload === undefined || workload.network !== this.#ranges.network) return;
    if (workload.networkMode === 'HOST_NETWORK') return;
    for (const address of workload.addresses) yield* this.#ofAddress(address);
  }

  *#ofService(service: Service | undefined): Generator<string> {
    const { podRanges, serviceRanges } = meshSettingsOf(service);
    for (const range of [...podRanges, ...serviceRanges]) yield* this.#ofRange(range);
    for (const { network, address, length } of service?.addresses ?? []) {
      if (network !== this.#ranges.network) continue;
      if (length === undefined) yield* this.#ofAddress(address);
      else yield* this.#ofRange(`${address}/${length}`);
    }
  }

  *#ofAddress(text: string): Generator<string> {
    const address = parseAddress(text);
    if (address === undefined || this.#known.some((range) => cidrContains(range, address))) return;
    yield `${address.text}/${address.family === 4 ? 32 : 128}`;
  }

  *#ofRange(text: string): Generator<string> {
    const range = parseCidr(text)?.text;
    // One that is the cluster's own is captured as that, whoever else names it.
    if (range !== undefined && !this.#known.some((known) => known.text === range)) yield range;
  }
}

function* counted(texts: Iterable<string>, by: number): Generator<[string, number]> {
  for (const text of texts) yield [text, by];
}
