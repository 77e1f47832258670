import { parseAddress } from '../../../src/model/address.ts';
import { type FlowRecord, flowDirections, flowKinds, flowPaths } from '../../../src/model/flow.ts';
import { flowRecordBytes } from '../../../src/tunnel/flow-record.ts';

export const usualFlow: FlowRecord = {
  flowId: '1',
  kind: 'closed',
  direction: 'outbound',
  path: 'tunnel',
  openedUnixMicroseconds: Date.parse('2030-01-01T10:00:00.123Z') * 1000,
  durationMicroseconds: 1_500_000,
  bytesSent: 1_234,
  bytesReceived: 10_000_007,
  sourceAddress: '10.64.1.2',
  sourcePort: 40_001,
  destinationAddress: '10.128.0.1',
  destinationPort: 80,
  endpointAddress: '10.64.2.2',
  endpointPort: 8080,
  podIndex: 1,
  edge: 1,
  rttMicroseconds: 10_250,
  retransmits: 3,
  connectMicroseconds: 12_000,
  reason: 0,
};

/** Packed as native/tunnel/flow_record.h lays it out. */
export function packFlow(given: Partial<FlowRecord> = {}): Uint8Array {
  const flow = { ...usualFlow, ...given };
  const bytes = Buffer.alloc(flowRecordBytes);
  bytes.writeBigUInt64LE(BigInt(`0x${flow.flowId}`), 0);
  bytes.writeBigUInt64LE(BigInt(flow.openedUnixMicroseconds), 8);
  bytes.writeBigUInt64LE(BigInt(flow.durationMicroseconds), 16);
  bytes.writeBigUInt64LE(BigInt(flow.bytesSent), 24);
  bytes.writeBigUInt64LE(BigInt(flow.bytesReceived), 32);
  writeAddress(bytes, 40, flow.sourceAddress);
  writeAddress(bytes, 56, flow.destinationAddress);
  writeAddress(bytes, 72, flow.endpointAddress);
  bytes.writeUInt32LE(flow.podIndex, 88);
  bytes.writeUInt32LE(flow.edge, 92);
  bytes.writeUInt32LE(flow.rttMicroseconds, 96);
  bytes.writeUInt32LE(flow.retransmits, 100);
  bytes.writeUInt32LE(flow.connectMicroseconds, 104);
  bytes.writeUInt16LE(flow.sourcePort, 108);
  bytes.writeUInt16LE(flow.destinationPort, 110);
  bytes.writeUInt16LE(flow.endpointPort, 112);
  bytes.writeUInt16LE(flow.reason, 114);
  bytes[116] = flowKinds.indexOf(flow.kind) + 1;
  bytes[117] = flowDirections.indexOf(flow.direction) + 1;
  bytes[118] = flowPaths.indexOf(flow.path) + 1;
  return bytes;
}

export function packFlows(...given: Partial<FlowRecord>[]): Uint8Array {
  return Buffer.concat(given.map(packFlow));
}

function writeAddress(bytes: Buffer, at: number, text: string): void {
  const address = parseAddress(text);
  if (address === undefined) return;
  const value = address.family === 4 ? (0xffffn << 32n) | address.value : address.value;
  bytes.writeBigUInt64BE(value >> 64n, at);
  bytes.writeBigUInt64BE(value & 0xffff_ffff_ffff_ffffn, at + 8);
}
