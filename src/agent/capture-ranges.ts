import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CaptureRanges } from '../kernel/capture.ts';
import { parseAddress } from '../model/address.ts';
import { type Cidr, cidrContains } from '../model/cidr.ts';
import type { SnapshotDiff } from '../model/diff.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';

export interface ClusterRanges {
  readonly pods: readonly Cidr[];
  readonly services: readonly Cidr[];
  readonly network: string;
}

/** Resources looked at between two turns of the event loop. */
const stepSize = 500;

/**
 * What the kernel captures without a row: the cluster's ranges, and every address of the mesh outside of them. Addresses of
 * other networks are not ours to capture.
 */
export function captureRanges(snapshot: MeshSnapshot, ranges: ClusterRanges): CaptureRanges {
  const steps = inSteps(snapshot, ranges);
  for (;;) {
    const { value, done } = steps.next();
    if (done === true) return value;
  }
}

/** The same; of a large mesh others have their turn meanwhile. */
export async function captureRangesInTurns(
  snapshot: MeshSnapshot,
  ranges: ClusterRanges,
): Promise<CaptureRanges> {
  const steps = inSteps(snapshot, ranges);
  for (;;) {
    const { value, done } = steps.next();
    if (done === true) return value;
    await nextTurn();
  }
}

function* inSteps(
  snapshot: MeshSnapshot,
  { pods, services, network }: ClusterRanges,
): Generator<undefined, CaptureRanges> {
  const known = [...pods, ...services];
  const mesh = new Set<string>();
  const add = (text: string, length?: number) => {
    const address = parseAddress(text);
    if (address === undefined) return;
    if (length === undefined && known.some((range) => cidrContains(range, address))) return;
    mesh.add(length === undefined ? address.text : `${address.text}/${length}`);
  };
  let looked = 0;
  for (const workload of snapshot.workloads.values()) {
    if (++looked % stepSize === 0) yield;
    // The host's addresses are also those of what is not in the mesh.
    if (workload.network !== network || workload.networkMode === 'HOST_NETWORK') continue;
    for (const address of workload.addresses) add(address);
  }
  for (const service of snapshot.services.values()) {
    if (++looked % stepSize === 0) yield;
    for (const { network: of, address, length } of service.addresses)
      if (of === network) add(address, length);
  }
  return { pods: pods.map(({ text }) => text), services: services.map(({ text }) => text), mesh: [...mesh] };
}

/** Whether a change of the mesh can have changed them. */
export function mayChangeRanges({ workloads, services }: SnapshotDiff): boolean {
  return [workloads, services].some(
    ({ added, changed, removed }) => added.length + changed.length + removed.length > 0,
  );
}
