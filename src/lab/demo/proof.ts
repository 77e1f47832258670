/**
 * What a capture of the fabric proves: that words sent between meshed pods never crossed it in the clear, and that the
 * same capture would have shown them, since it shows those of pods outside the mesh.
 */
import { readTcpSegments, type TcpSegment } from '../pcap.ts';

/** A word that went over one edge in one direction. */
export interface Marker {
  readonly edge: string;
  readonly direction: 'ask' | 'answer';
  readonly family: 4 | 6;
  readonly text: string;
  /** What the capture must show: meshed edges nothing, the others everything. */
  readonly expected: 'hidden' | 'visible';
}

export interface MarkerFinding extends Marker {
  readonly count: number;
}

export interface Proof {
  readonly packets: number;
  readonly dropped: number;
  readonly findings: readonly MarkerFinding[];
  /** TCP payload on the tunnel's port, both directions. */
  readonly tunnelBytes: number;
  /** What the meshed edges that cross the fabric carried. */
  readonly payloadBytes: number;
  /** Connections between two meshed pods on another port than the tunnel's. */
  readonly strays: readonly string[];
  readonly failures: readonly string[];
}

export interface ProofInput {
  readonly capture: Buffer;
  readonly statistics: { readonly captured: number; readonly dropped: number };
  readonly markers: readonly Marker[];
  /** Addresses of pods in the mesh. */
  readonly meshed: ReadonlySet<string>;
  readonly payloadBytes: number;
}

const hbonePort = 15008;

export function prove(input: ProofInput): Proof {
  const streams = new Map<string, Buffer[]>();
  const strays = new Set<string>();
  let tunnelBytes = 0;
  for (const segment of readTcpSegments(input.capture)) {
    const isTunnel = segment.sourcePort === hbonePort || segment.destinationPort === hbonePort;
    if (isTunnel) tunnelBytes += segment.payload.length;
    else if (input.meshed.has(segment.source) && input.meshed.has(segment.destination))
      strays.add(described(segment));
    if (segment.payload.length > 0) append(streams, described(segment), Buffer.from(segment.payload));
  }
  // A word may lie across two packets, so each direction of a connection is searched as one text.
  const texts = [...streams.values()].map((parts) => Buffer.concat(parts));
  const findings = input.markers.map((marker) => ({ ...marker, count: occurrences(texts, marker.text) }));
  const { captured: packets, dropped } = input.statistics;
  const found = {
    packets,
    dropped,
    findings,
    tunnelBytes,
    payloadBytes: input.payloadBytes,
    strays: [...strays],
  };
  return { ...found, failures: failuresOf(found) };
}

function failuresOf(proof: Omit<Proof, 'failures'>): string[] {
  const failures: string[] = [];
  if (proof.packets === 0) failures.push('the capture is empty');
  if (proof.dropped > 0) failures.push(`the capture lost ${proof.dropped} packets, so it proves nothing`);
  for (const { edge, direction, family, expected, count } of proof.findings) {
    const what = `the ${direction} of ${edge} over IPv${family}`;
    if (expected === 'hidden' && count > 0)
      failures.push(`${what} crossed the fabric in the clear (${count} times)`);
    if (expected === 'visible' && count === 0)
      failures.push(`${what} is not in the capture, which therefore proves nothing`);
  }
  if (proof.tunnelBytes <= proof.payloadBytes) {
    failures.push(
      `port ${hbonePort} carried ${proof.tunnelBytes} bytes, less than the ${proof.payloadBytes} of its payload`,
    );
  }
  for (const stray of proof.strays) failures.push(`meshed pods spoke past the tunnel: ${stray}`);
  return failures;
}

const described = ({ source, sourcePort, destination, destinationPort }: TcpSegment) =>
  `${source} port ${sourcePort} to ${destination} port ${destinationPort}`;

function append(streams: Map<string, Buffer[]>, key: string, part: Buffer): void {
  const known = streams.get(key);
  if (known === undefined) streams.set(key, [part]);
  else known.push(part);
}

function occurrences(texts: readonly Buffer[], word: string): number {
  let count = 0;
  for (const text of texts) {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) count++;
  }
  return count;
}
