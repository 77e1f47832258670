import { FLOW_OUTBOUND } from '../kernel/constants.gen.ts';
import type { CaptureCounters, UntouchedCount } from '../kernel/counters.ts';
import type { FlowReader } from '../kernel/flows.ts';
import type { UntouchedFlow } from '../model/flow.ts';
import type { Workload } from '../model/workload.ts';
import { createLabels, partyOfWorkload, type TrafficLabels } from '../routing/labels.ts';
import type { FlowFormat } from '../telemetry/flow-ring.ts';
import type { LabelledTraffic } from '../telemetry/traffic-table.ts';
import { isDirect } from './direct-traffic.ts';

/** Records of the capture as the flow log reads them. */
export function untouchedFlowFormat(
  reader: Pick<FlowReader, 'recordBytes' | 'isLive' | 'decode'>,
): FlowFormat<UntouchedFlow> {
  return {
    recordBytes: reader.recordBytes,
    isLive: (records, at) => reader.isLive(records, at),
    decode: (records, index) => reader.decode(records, index),
  };
}

export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

/** What the capture left alone, under the labels of the pod whose connections they were. */
export function untouchedTraffic(
  counts: readonly UntouchedCount[],
  workloadOf: (podIndex: number) => Workload | undefined,
): LabelledTraffic[] {
  const labels = new Map<string, TrafficLabels>();
  return counts
    .filter((count) => !isDirect(count))
    .map(({ podIndex, direction, opened, closed, failed, bytesSent, bytesReceived }) => {
      const key = `${podIndex} ${direction}`;
      const known = labels.get(key) ?? podLabels(workloadOf(podIndex), direction === FLOW_OUTBOUND);
      labels.set(key, known);
      return { labels: known, opened, closed, failed, bytesSent, bytesReceived };
    });
}

/** What connect() refused without a row, under the labels of the pod that asked. */
export function refusedTraffic(
  refused: CaptureCounters['refused'],
  workloadOf: (podIndex: number) => Workload | undefined,
): LabelledTraffic[] {
  return refused
    .filter(({ edge }) => edge === 0)
    .map(({ podIndex, reason, count: failed }) => {
      const labels = podLabels(workloadOf(podIndex), true);
      return { labels, reason, opened: 0, closed: 0, failed, bytesSent: 0, bytesReceived: 0 };
    });
}

function podLabels(workload: Workload | undefined, isSource: boolean): TrafficLabels {
  const party = workload === undefined ? undefined : partyOfWorkload(workload);
  return createLabels({
    reporter: isSource ? 'source' : 'destination',
    source: isSource ? party : undefined,
    destination: isSource ? undefined : party,
    service: undefined,
    mutualTls: undefined,
  });
}
