import { addressFromValue } from '../model/address.ts';

/** native/tunnel/flow_record.h, whose layout this repeats; native asserts the size there, `createTunnel` here. */
export const flowRecordBytes = 128;

export const flowKinds = ['live', 'closed', 'refused'] as const;
export const flowDirections = ['outbound', 'inbound'] as const;
export const flowPaths = ['tunnel', 'plaintext', 'untouched', 'node_local'] as const;

export type FlowKind = (typeof flowKinds)[number];
export type FlowDirection = (typeof flowDirections)[number];
export type FlowPath = (typeof flowPaths)[number];

/** One connection as an operator sees it; sent is from the source towards the destination. */
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

const mappedPrefix = 0xffffn;

/** Decodes the record at `index`; throws a RangeError when there is none. */
export function decodeFlowRecord(records: Uint8Array, index: number): FlowRecord {
  const at = index * flowRecordBytes;
  const view = new DataView(records.buffer, records.byteOffset + at, flowRecordBytes);
  return {
    flowId: view.getBigUint64(0, true).toString(16),
    openedUnixMicroseconds: Number(view.getBigUint64(8, true)),
    durationMicroseconds: Number(view.getBigUint64(16, true)),
    bytesSent: Number(view.getBigUint64(24, true)),
    bytesReceived: Number(view.getBigUint64(32, true)),
    sourceAddress: addressAt(view, 40),
    destinationAddress: addressAt(view, 56),
    endpointAddress: addressAt(view, 72),
    podIndex: view.getUint32(88, true),
    edge: view.getUint32(92, true),
    rttMicroseconds: view.getUint32(96, true),
    retransmits: view.getUint32(100, true),
    connectMicroseconds: view.getUint32(104, true),
    sourcePort: view.getUint16(108, true),
    destinationPort: view.getUint16(110, true),
    endpointPort: view.getUint16(112, true),
    reason: view.getUint16(114, true),
    kind: flowKinds[view.getUint8(116) - 1] ?? 'closed',
    direction: flowDirections[view.getUint8(117) - 1] ?? 'outbound',
    path: flowPaths[view.getUint8(118) - 1] ?? 'tunnel',
  };
}

export function flowRecordCount(records: Uint8Array): number {
  return Math.floor(records.byteLength / flowRecordBytes);
}

export function decodeFlowRecords(records: Uint8Array): FlowRecord[] {
  return Array.from({ length: flowRecordCount(records) }, (_, index) => decodeFlowRecord(records, index));
}

/** Canonical text of 16 bytes in network order; '' for an address that was never known. */
function addressAt(view: DataView, offset: number): string {
  const value = (view.getBigUint64(offset) << 64n) | view.getBigUint64(offset + 8);
  if (value === 0n) return '';
  return value >> 32n === mappedPrefix
    ? addressFromValue(4, value & 0xffff_ffffn).text
    : addressFromValue(6, value).text;
}
