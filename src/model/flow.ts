/** A connection as an operator sees it, whoever tells of it: the tunnel, or the capture in the kernel. */

export const flowKinds = ['live', 'closed', 'refused'] as const;
export const flowDirections = ['outbound', 'inbound'] as const;
export const flowPaths = ['tunnel', 'plaintext', 'untouched', 'node_local'] as const;

export type FlowKind = (typeof flowKinds)[number];
export type FlowDirection = (typeof flowDirections)[number];
export type FlowPath = (typeof flowPaths)[number];

/** Sent is from the source towards the destination. */
export interface FlowRecord {
  /** Unique per agent process. */
  readonly flowId: string;
  readonly kind: FlowKind;
  readonly direction: FlowDirection;
  readonly path: FlowPath;
  readonly openedUnixMicroseconds: number;
  readonly durationMicroseconds: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly sourceAddress: string;
  readonly sourcePort: number;
  /** What the application dialled (outbound), or was dialled as (inbound). */
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Where it went: the endpoint (outbound) or the delivery target (inbound). */
  readonly endpointAddress: string;
  readonly endpointPort: number;
  readonly podIndex: number;
  readonly edge: number;
  /** Of the connection that crosses the nodes. */
  readonly rttMicroseconds: number;
  readonly retransmits: number;
  /** Accept to the first byte possible. */
  readonly connectMicroseconds: number;
  readonly reason: number;
}

/** What no tunnel carries: the capture left it alone, or the kernel carries it between two pods of the node. */
export interface UntouchedFlow extends Omit<FlowRecord, 'kind' | 'path' | 'connectMicroseconds'> {
  /** `slipped`: marked for capture, yet on its way out of the pod in clear, so the agent ended it. */
  readonly kind: FlowKind | 'slipped';
  readonly path: 'untouched' | 'node_local';
  /** Of a `node_local` one: the pod at its other end. */
  readonly peerPodIndex: number;
  /** The kernel's socket cookie, with which it can be destroyed. */
  readonly cookie: bigint;
}

export type ObservedFlow = FlowRecord | UntouchedFlow;
