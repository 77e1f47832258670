/** Reads what a capture on the fabric holds: TCP segments with their payload. Ethernet frames only, as veth links carry. */
import { HadalError } from '../base/errors.ts';
import { addressFromValue } from '../model/address.ts';

export interface TcpSegment {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

const ethernet = 1;
const [ipv4, ipv6] = [0x0800, 0x86dd];
const tcp = 6;

export function* readTcpSegments(file: Buffer): Generator<TcpSegment> {
  const magic = file.length < 24 ? 0 : file.readUInt32LE(0);
  if (magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) {
    throw new HadalError(
      'ERR_LAB_CAPTURE',
      `not a capture file of this machine: it begins with ${magic.toString(16)}`,
    );
  }
  const link = file.readUInt32LE(20);
  if (link !== ethernet) throw new HadalError('ERR_LAB_CAPTURE', `link type ${link} is not Ethernet`);
  for (let offset = 24; offset + 16 <= file.length; ) {
    const length = file.readUInt32LE(offset + 8);
    const segment = tcpSegment(file.subarray(offset + 16, offset + 16 + length));
    if (segment !== undefined) yield segment;
    offset += 16 + length;
  }
}

function tcpSegment(frame: Buffer): TcpSegment | undefined {
  if (frame.length < 14) return undefined;
  const type = frame.readUInt16BE(12);
  if (type === ipv4) return segmentOfIpv4(frame.subarray(14));
  if (type === ipv6) return segmentOfIpv6(frame.subarray(14));
  return undefined;
}

function segmentOfIpv4(packet: Buffer): TcpSegment | undefined {
  if (packet.length < 20 || packet[9] !== tcp) return undefined;
  const header = ((packet[0] ?? 0) & 15) * 4;
  // A packet that segmentation offload grew beyond 64 KB has length 0; then the frame's length counts.
  const total = packet.readUInt16BE(2) || packet.length;
  const text = (at: number) => addressFromValue(4, BigInt(packet.readUInt32BE(at))).text;
  return segmentOf(text(12), text(16), packet.subarray(header, total));
}

function segmentOfIpv6(packet: Buffer): TcpSegment | undefined {
  if (packet.length < 40 || packet[6] !== tcp) return undefined;
  const total = packet.readUInt16BE(4) || packet.length - 40;
  const text = (at: number) => addressFromValue(6, BigInt(`0x${packet.toString('hex', at, at + 16)}`)).text;
  return segmentOf(text(8), text(24), packet.subarray(40, 40 + total));
}

function segmentOf(source: string, destination: string, segment: Buffer): TcpSegment | undefined {
  if (segment.length < 20) return undefined;
  const header = ((segment[12] ?? 0) >> 4) * 4;
  return {
    source,
    sourcePort: segment.readUInt16BE(0),
    destination,
    destinationPort: segment.readUInt16BE(2),
    payload: segment.subarray(header),
  };
}
