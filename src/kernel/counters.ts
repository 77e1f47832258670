import { reasons as reasonNumbers } from '../model/reasons.gen.ts';
import type { BpfMap, NativeBpf } from '../native/types.ts';
import type { CaptureMaps, CounterKey, UntouchedKey } from './capture-maps.ts';
import * as constants from './constants.gen.ts';

export interface UntouchedCount extends UntouchedKey {
  readonly opened: number;
  readonly closed: number;
  readonly failed: number;
  /** From the client towards the server, whichever the pod is. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** Under which both ends of a connection between two pods of the node are counted: its source's, and its destination's. */
export const directReasons: ReadonlySet<number> = new Set([reasonNumbers.DIRECT, reasonNumbers.AUTHORIZED]);

/** Sums over all CPUs, since the maps were made. */
export interface CaptureCounters {
  /** By reason (bpf/shared/reasons.h), for the whole node; reasons never met are left out. */
  readonly reasons: ReadonlyMap<number, number>;
  readonly pods: readonly (CounterKey & { readonly count: number })[];
  /** Connections of enrolled pods that the capture left alone. */
  readonly untouched: readonly UntouchedCount[];
  /** Refused at connect() by a row, under the row's edge. */
  readonly refused: readonly (CounterKey & { readonly edge: number; readonly count: number })[];
  /** What was lost of the capture's own bookkeeping. */
  readonly faults: Readonly<Record<FaultName, number>>;
}

const faultNames = {
  flowsLost: constants.FAULT_FLOWS_LOST,
  flowSlotsFull: constants.FAULT_FLOW_SLOTS_FULL,
  flowNotStored: constants.FAULT_FLOW_NOT_STORED,
  countersFull: constants.FAULT_COUNTERS_FULL,
  kubeletNotStored: constants.FAULT_KUBELET_NOT_STORED,
  flowRate: constants.FAULT_FLOW_RATE,
} as const;

export type FaultName = keyof typeof faultNames;

export function readCounters(native: Pick<NativeBpf, 'cpuCount'>, maps: CaptureMaps): CaptureCounters {
  const cpus = native.cpuCount;
  const reasons = new Map<number, number>();
  for (const [key, value] of maps.map('reason_counts').entries()) {
    const count = sumOver(cpus, value, 0, 8);
    if (count > 0) reasons.set(numberOf(key), count);
  }
  const pods = maps
    .map('pod_counts')
    .entries()
    .map(([key, value]) => ({ ...maps.counterKey.decode(key), count: sumOver(cpus, value, 0, 8) }));
  const all = readUntouched(cpus, maps);
  return {
    reasons,
    pods,
    untouched: all.filter((count) => !isRefusal(count)),
    refused: all
      .filter(isRefusal)
      .map(({ podIndex, reason, edge, failed }) => ({ podIndex, reason, edge, count: failed })),
    faults: readFaults(cpus, maps.map('capture_faults')),
  };
}

/** Below 80 stand the reasons to leave a connection alone; a connection of those can fail too, on its own. */
function isRefusal({ reason }: CounterKey): boolean {
  return reason >= reasonNumbers.ROW_REFUSED;
}

function readUntouched(cpus: number, maps: CaptureMaps): UntouchedCount[] {
  const { untouchedCounters: codec } = maps;
  return maps
    .map('untouched_counts')
    .entries()
    .map(([key, values]) => {
      const sum = { opened: 0, closed: 0, failed: 0, bytesSent: 0, bytesReceived: 0 };
      for (let cpu = 0; cpu < cpus; cpu++) {
        const one = codec.decode(values, cpu * codec.size);
        for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += Number(one[name]);
      }
      return { ...maps.untouchedKey.decode(key), ...sum };
    });
}

function readFaults(cpus: number, map: BpfMap): Record<FaultName, number> {
  const found = new Map(map.entries().map(([key, value]) => [numberOf(key), sumOver(cpus, value, 0, 8)]));
  const names = Object.entries(faultNames) as [FaultName, number][];
  return Object.fromEntries(names.map(([name, index]) => [name, found.get(index) ?? 0])) as Record<
    FaultName,
    number
  >;
}

/** One u64 of each CPU's value, added up. */
function sumOver(cpus: number, values: Uint8Array, offset: number, stride: number): number {
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  let sum = 0n;
  for (let cpu = 0; cpu < cpus; cpu++) sum += view.getBigUint64(cpu * stride + offset, true);
  return Number(sum);
}

function numberOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}
