import { readAddressBytes } from '../model/address.ts';
import { type FlowRecord, flowDirections, flowKinds, flowPaths } from '../model/flow.ts';

/** native/tunnel/flow_record.h, whose layout this repeats; native asserts the size there, `createTunnel` here. */
export const flowRecordBytes = 128;

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

/** '' for an address that was never known, which is all zero. */
function addressAt(view: DataView, offset: number): string {
  const text = readAddressBytes(view, offset);
  return text === '::' ? '' : text;
}
