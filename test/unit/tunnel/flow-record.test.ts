import { expect, it } from 'vitest';
import { decodeFlowRecords, flowRecordBytes, flowRecordCount } from '../../../src/tunnel/flow-record.ts';

/** Offsets as native/tunnel/flow_record.h lays them out. */
function record(): Uint8Array {
  const view = new DataView(new ArrayBuffer(flowRecordBytes));
  view.setBigUint64(0, 0x01_00_00_00_00_00_00_2an, true);
  view.setBigUint64(8, 1_800_000_000_000_000n, true);
  view.setBigUint64(16, 1_500n, true);
  view.setBigUint64(24, 10_000_007n, true);
  view.setBigUint64(32, 5n, true);
  view.setBigUint64(48, 0x0000_ffff_0a00_0005n);
  view.setBigUint64(56, 0xfd00_0000_0000_0000n);
  view.setBigUint64(64, 7n);
  view.setUint32(88, 12, true);
  view.setUint32(92, 34, true);
  view.setUint32(96, 10_250, true);
  view.setUint32(100, 3, true);
  view.setUint32(104, 900, true);
  view.setUint16(108, 40_000, true);
  view.setUint16(110, 80, true);
  view.setUint16(112, 15_008, true);
  view.setUint16(114, 173, true);
  view.setUint8(116, 2);
  view.setUint8(117, 2);
  view.setUint8(118, 1);
  return new Uint8Array(view.buffer);
}

it('decodes packed flow records, also in a buffer that starts elsewhere', () => {
  const padded = new Uint8Array(7 + 2 * flowRecordBytes);
  padded.set(record(), 7 + flowRecordBytes);
  const records = padded.subarray(7);
  expect(flowRecordCount(records)).toBe(2);
  expect(decodeFlowRecords(records)[1]).toEqual({
    flowId: '10000000000002a'.padStart(15, '0'),
    kind: 'closed',
    direction: 'inbound',
    path: 'tunnel',
    openedUnixMicroseconds: 1_800_000_000_000_000,
    durationMicroseconds: 1_500,
    bytesSent: 10_000_007,
    bytesReceived: 5,
    sourceAddress: '10.0.0.5',
    sourcePort: 40_000,
    destinationAddress: 'fd00::7',
    destinationPort: 80,
    endpointAddress: '',
    endpointPort: 15_008,
    podIndex: 12,
    edge: 34,
    rttMicroseconds: 10_250,
    retransmits: 3,
    connectMicroseconds: 900,
    reason: 173,
  });
});
