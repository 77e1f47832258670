/** A connection as `hadal connections` shows it: a flow record joined with what its edge means. Part of the interface. */
import type { FlowDirection, FlowPath, ObservedFlow } from '../model/flow.ts';
import { reasonDetails } from '../model/reasons.gen.ts';
import type { TrafficLabels } from '../routing/labels.ts';

export const connectionStates = ['live', 'closed', 'refused'] as const;
export type ConnectionState = (typeof connectionStates)[number];

/** One end of a connection; names are absent when nobody knows the address. */
export interface ConnectionParty {
  readonly workload?: string;
  readonly namespace?: string;
  /** SPIFFE id; of the peer only where a certificate proved it. */
  readonly identity?: string;
  readonly address: string;
  readonly port: number;
}

export interface ConnectionEntry {
  /** Unique while the agent runs. */
  readonly id: string;
  /** When it was opened, ISO 8601. */
  readonly time: string;
  readonly state: ConnectionState;
  /** As the agent's pod sees it. */
  readonly direction: FlowDirection;
  readonly path: FlowPath;
  /** The pod of this node, `namespace/name`, where known. */
  readonly pod?: string;
  readonly source: ConnectionParty;
  /** What the application dialled (outbound) or was dialled as (inbound). */
  readonly destination: ConnectionParty;
  /** Where it went: an endpoint of the service, or the delivery inside the pod. */
  readonly endpoint?: { readonly address: string; readonly port: number };
  /** Host name of the service that was meant. */
  readonly service?: string;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly durationMs: number;
  /** Until the first byte could pass; of carried connections. */
  readonly connectMs?: number;
  /** Of the connection that crosses the nodes; absent before it was measured. */
  readonly rttMs?: number;
  readonly retransmits: number;
  /** Name of the reason for which it was refused or ended early, or left alone; `none` otherwise. */
  readonly reason: string;
  readonly reasonText?: string;
}

export type PartyNames = Pick<ConnectionParty, 'workload' | 'namespace' | 'identity'>;

/** What the agent knows of an address when the edge does not tell. */
export type ResolveAddress = (address: string) => PartyNames | undefined;

export interface JoinContext {
  readonly labels: (edge: number) => TrafficLabels | undefined;
  readonly podName?: ((podIndex: number) => string | undefined) | undefined;
  readonly resolve?: ResolveAddress | undefined;
  /** Of a pod of this node: who it is by its network namespace, which is what both ends of a direct connection are known by. */
  readonly ofPod?: ((podIndex: number) => PartyNames | undefined) | undefined;
}

export function toConnectionEntry(flow: ObservedFlow, context: JoinContext): ConnectionEntry {
  const labels = context.labels(flow.edge);
  const pod = context.podName?.(flow.podIndex);
  const service = known(labels?.destination_service);
  const reason = reasonDetails.get(flow.reason);
  const carried = 'connectMicroseconds' in flow ? flow : undefined;
  const names = namesOfEnds(flow, context);
  return {
    id: flow.flowId,
    time: new Date(flow.openedUnixMicroseconds / 1000).toISOString(),
    state: flow.kind === 'slipped' ? 'refused' : flow.kind,
    direction: flow.direction,
    path: flow.path,
    ...(pod === undefined ? {} : { pod }),
    source: party(labels, 'source', flow.sourceAddress, flow.sourcePort, names.source),
    destination: party(
      labels,
      'destination',
      flow.destinationAddress,
      flow.destinationPort,
      names.destination,
    ),
    ...((carried !== undefined || flow.path === 'node_local') && flow.endpointAddress
      ? { endpoint: { address: flow.endpointAddress, port: flow.endpointPort } }
      : {}),
    ...(service === undefined ? {} : { service }),
    bytesSent: flow.bytesSent,
    bytesReceived: flow.bytesReceived,
    durationMs: flow.durationMicroseconds / 1000,
    ...(carried === undefined ? {} : { connectMs: carried.connectMicroseconds / 1000 }),
    ...(flow.rttMicroseconds === 0 ? {} : { rttMs: flow.rttMicroseconds / 1000 }),
    retransmits: flow.retransmits,
    reason: reason?.metric ?? `reason_${flow.reason}`,
    ...(flow.reason === 0 || reason === undefined ? {} : { reasonText: reason.text }),
  };
}

type NamesOfEnd = () => PartyNames | undefined;

/** For an edge that nobody knows any more, such as one that a row had before the agent was killed. */
function namesOfEnds(
  flow: ObservedFlow,
  { resolve, ofPod }: JoinContext,
): { source: NamesOfEnd; destination: NamesOfEnd } {
  if (!('peerPodIndex' in flow) || flow.path !== 'node_local') {
    return {
      source: () => resolve?.(flow.sourceAddress),
      destination: () => resolve?.(flow.destinationAddress),
    };
  }
  const { podIndex, peerPodIndex } = flow;
  const [source, destination] =
    flow.direction === 'outbound' ? [podIndex, peerPodIndex] : [peerPodIndex, podIndex];
  return { source: () => ofPod?.(source), destination: () => ofPod?.(destination) };
}

function party(
  labels: TrafficLabels | undefined,
  side: 'source' | 'destination',
  address: string,
  port: number,
  otherwise: NamesOfEnd,
): ConnectionParty {
  const workload = known(labels?.[`${side}_workload`]);
  const namespace = known(labels?.[`${side}_workload_namespace`]);
  const identity = known(labels?.[`${side}_principal`]);
  if (workload === undefined && identity === undefined) return { ...otherwise(), address, port };
  return {
    ...(workload === undefined ? {} : { workload }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(identity === undefined ? {} : { identity }),
    address,
    port,
  };
}

function known(label: string | undefined): string | undefined {
  return label === undefined || label === 'unknown' || label === '' ? undefined : label;
}
