import { describe, expect, it } from 'vitest';
import { sumEdges } from '../../../src/lab/demo/edges.ts';
import { type Marker, prove } from '../../../src/lab/demo/proof.ts';
import { plainPaint, type Report, renderReport } from '../../../src/lab/demo/report.ts';
import { failuresOf } from '../../../src/lab/demo/run.ts';
import { readTcpSegments } from '../../../src/lab/pcap.ts';
import type { ConnectionEntry } from '../../../src/telemetry/connection-entry.ts';

interface Packet {
  readonly from: readonly [string, number];
  readonly to: readonly [string, number];
  readonly payload: string;
}

/** A capture file as tcpdump writes it. */
function pcap(packets: readonly Packet[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt32LE(1, 20);
  return Buffer.concat([head, ...packets.map(record)]);
}

function record({ from, to, payload }: Packet): Buffer {
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(from[1], 0);
  tcp.writeUInt16BE(to[1], 2);
  tcp[12] = 5 << 4;
  const segment = Buffer.concat([tcp, Buffer.from(payload)]);
  const isV6 = from[0].includes(':');
  const ip = isV6 ? ipv6(from[0], to[0], segment.length) : ipv4(from[0], to[0], segment.length);
  const ethernet = Buffer.alloc(14);
  ethernet.writeUInt16BE(isV6 ? 0x86dd : 0x0800, 12);
  // Short frames are padded, which must not be taken for payload.
  const frame = Buffer.concat([ethernet, ip, segment, Buffer.alloc(6)]);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(frame.length, 8);
  head.writeUInt32LE(frame.length, 12);
  return Buffer.concat([head, frame]);
}

function ipv4(from: string, to: string, length: number): Buffer {
  const ip = Buffer.alloc(20);
  ip[0] = 0x45;
  ip[9] = 6;
  ip.writeUInt16BE(20 + length, 2);
  Buffer.from(from.split('.').map(Number)).copy(ip, 12);
  Buffer.from(to.split('.').map(Number)).copy(ip, 16);
  return ip;
}

function ipv6(from: string, to: string, length: number): Buffer {
  const ip = Buffer.alloc(40);
  ip[0] = 0x60;
  ip[6] = 6;
  ip.writeUInt16BE(length, 4);
  for (const [address, at] of [
    [from, 8],
    [to, 24],
  ] as const) {
    const [head = '', tail = ''] = address.split('::');
    head.split(':').forEach((group, index) => {
      ip.writeUInt16BE(Number.parseInt(group, 16), at + index * 2);
    });
    ip.writeUInt16BE(Number.parseInt(tail, 16), at + 14);
  }
  return ip;
}

describe('a capture', () => {
  it('is read as TCP segments of both families', () => {
    const file = pcap([
      { from: ['10.0.0.1', 40000], to: ['10.0.0.2', 80], payload: 'hello' },
      { from: ['fd00::2', 80], to: ['fd00::1', 40000], payload: '' },
    ]);
    const read = [...readTcpSegments(file)].map(({ payload, ...rest }) => ({
      ...rest,
      text: Buffer.from(payload).toString(),
    }));
    expect(read).toEqual([
      { source: '10.0.0.1', sourcePort: 40000, destination: '10.0.0.2', destinationPort: 80, text: 'hello' },
      { source: 'fd00::2', sourcePort: 80, destination: 'fd00::1', destinationPort: 40000, text: '' },
    ]);
  });

  it('that is none is refused', () => {
    expect(() => [...readTcpSegments(Buffer.from('hello'))]).toThrow(/not a capture file/);
  });
});

describe('the proof', () => {
  const marker = (expected: 'hidden' | 'visible', text: string): Marker => ({
    edge: 'a>b',
    direction: 'ask',
    family: 4,
    expected,
    text,
  });
  const good: Packet[] = [
    { from: ['10.0.0.1', 40000], to: ['10.0.0.2', 15008], payload: '#'.repeat(200) },
    { from: ['10.0.0.1', 40001], to: ['10.0.0.9', 80], payload: 'the open word' },
  ];
  const input = (packets: readonly Packet[], more: object = {}) => ({
    capture: pcap(packets),
    statistics: { captured: packets.length, dropped: 0 },
    markers: [marker('hidden', 'secret word'), marker('visible', 'open word')],
    meshed: new Set(['10.0.0.1', '10.0.0.2']),
    payloadBytes: 100,
    ...more,
  });

  it('holds when words of meshed pods are hidden, others visible, and nothing was lost', () => {
    expect(prove(input(good))).toMatchObject({ failures: [], tunnelBytes: 200, strays: [] });
  });

  it.each<[string, Packet[], object, RegExp]>([
    [
      'a word of meshed pods shows',
      [...good, { from: ['10.0.0.7', 1], to: ['10.0.0.8', 2], payload: 'a secret word' }],
      {},
      /ask of a>b over IPv4 crossed the fabric in the clear \(1 times\)/,
    ],
    [
      'such a word shows inside a tunnel',
      [...good, { from: ['10.0.0.2', 15008], to: ['10.0.0.1', 40000], payload: 'secret word' }],
      {},
      /in the clear/,
    ],
    [
      'such a word is cut by the end of a packet',
      [
        ...good,
        { from: ['10.0.0.7', 1], to: ['10.0.0.8', 2], payload: 'secret' },
        { from: ['10.0.0.7', 1], to: ['10.0.0.8', 2], payload: ' word' },
      ],
      {},
      /in the clear/,
    ],
    ['the control is missing', good.slice(0, 1), {}, /is not in the capture, which therefore proves nothing/],
    ['packets were lost', good, { statistics: { captured: 2, dropped: 3 } }, /lost 3 packets/],
    ['nothing was captured', [], { statistics: { captured: 0, dropped: 0 } }, /empty/],
    [
      'tunnels carried less than their payload',
      good,
      { payloadBytes: 200 },
      /carried 200 bytes, less than the 200/,
    ],
    [
      'meshed pods spoke past the tunnel',
      [...good, { from: ['10.0.0.1', 5], to: ['10.0.0.2', 80], payload: '' }],
      {},
      /past the tunnel: 10.0.0.1 port 5 to 10.0.0.2 port 80/,
    ],
  ])('fails when %s', (_, packets, more, expected) => {
    expect(prove(input(packets, more)).failures.join('\n')).toMatch(expected);
  });
});

const party = (workload: string, identity?: string) => ({
  workload,
  namespace: 'shop',
  address: '10.0.0.1',
  port: 1,
  ...(identity === undefined ? {} : { identity }),
});

function entry(shape: Partial<ConnectionEntry>): ConnectionEntry {
  return {
    id: '1',
    time: '2026-01-01T00:00:00.000Z',
    state: 'closed',
    direction: 'outbound',
    path: 'tunnel',
    source: party('front'),
    destination: party('catalog'),
    bytesSent: 10,
    bytesReceived: 100,
    durationMs: 1,
    retransmits: 0,
    reason: 'none',
    ...shape,
  };
}

describe('edges', () => {
  it('sum what both agents tell of a connection without counting it twice', () => {
    const identity = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;
    const edges = sumEdges(
      [
        entry({
          source: party('front', identity('front')),
          destination: party('catalog', identity('catalog')),
        }),
        entry({
          source: party('front', identity('front')),
          destination: party('catalog', identity('catalog')),
        }),
        entry({
          direction: 'inbound',
          source: party('front', identity('front')),
          destination: party('catalog', identity('catalog')),
        }),
        entry({ state: 'refused', bytesSent: 0, bytesReceived: 0 }),
      ],
      () => '?',
    );
    expect(edges).toEqual([
      {
        source: 'front',
        destination: 'catalog',
        path: 'tunnel',
        connections: 2,
        refused: 1,
        refusals: ['none'],
        bytesSent: 20,
        bytesReceived: 200,
        sourceIdentity: identity('front'),
        destinationIdentity: identity('catalog'),
        seenByDestination: 1,
      },
    ]);
  });

  it('name what the mesh does not know by its address, and clients outside by the side that saw them', () => {
    const edges = sumEdges(
      [
        entry({ path: 'untouched', destination: { address: '203.0.113.10', port: 80 } }),
        entry({
          direction: 'inbound',
          path: 'plaintext',
          source: { address: '10.0.0.4', port: 5 },
          destination: party('catalog'),
        }),
      ],
      (address) => (address === '203.0.113.10' ? 'publisher' : address),
    );
    expect(
      edges.map(({ source, destination, path, connections }) => [source, destination, path, connections]),
    ).toEqual([
      ['10.0.0.4', 'catalog', 'plaintext', 1],
      ['front', 'publisher', 'untouched', 1],
    ]);
  });
});

const report: Report = {
  visits: [{ family: 4, requests: 200, failed: 0, failures: [], ms: 1000 }],
  edges: [
    {
      source: 'front',
      destination: 'catalog',
      path: 'tunnel',
      connections: 200,
      refused: 0,
      refusals: [],
      bytesSent: 4000,
      bytesReceived: 90000,
      sourceIdentity: 'spiffe://a',
      destinationIdentity: 'spiffe://b',
      seenByDestination: 200,
    },
    {
      source: 'reviews',
      destination: 'publisher',
      path: 'untouched',
      connections: 200,
      refused: 0,
      refusals: [],
      bytesSent: 1,
      bytesReceived: 2,
      sourceIdentity: '',
      destinationIdentity: '',
      seenByDestination: 0,
    },
  ],
  latencies: new Map([['front>catalog', { requests: 200, p50: 2.04, p99: 9.5 }]]),
  proof: {
    packets: 5000,
    dropped: 0,
    findings: [
      { edge: 'front>catalog', direction: 'ask', family: 4, text: 'x', expected: 'hidden', count: 0 },
      { edge: 'catalog>stock', direction: 'ask', family: 4, text: 'y', expected: 'visible', count: 200 },
    ],
    tunnelBytes: 130000,
    payloadBytes: 94000,
    strays: [],
    failures: [],
  },
  strangers: {
    plaintext: { served: true, seenAs: '10.0.0.4' },
    foreignCertificate: { accepted: false, said: 'tlsv1 alert unknown ca' },
    noCertificate: { accepted: false, said: 'tlsv13 alert certificate required' },
    server: { tlsVersion: 'TLSv1.3', identity: 'spiffe://cluster.local/ns/shop/sa/catalog' },
  },
  failures: [],
};

describe('the report', () => {
  it('tells edges, proof and strangers in words', () => {
    expect(renderReport(report, plainPaint)).toBe(`Visitors
  IPv4: 200 pages, 0 failed, 200 pages/s; each page asks four services

Who talked to whom
  EDGE                  PATH        CONNECTIONS   SENT   RECEIVED   LATENCY p50 / p99
  front → catalog       tunnel      200           4000   90000      2.0 / 9.5 ms
  reviews → publisher   untouched   200           1      2

  Identities, each verified by the agent of the other end:
  EDGE              SOURCE       DESTINATION
  front → catalog   spiffe://a   spiffe://b

What crossed the fabric
  5000 packets captured, 0 lost
  Words sent between meshed pods, found in the clear: 0 of 1 (both directions, IPv4 and IPv6)
  Words sent past the mesh, found in the same capture: 1 of 1 (so it would have shown the others)
  Port 15008 carried 130000 bytes for 94000 bytes of payload
  Connections between meshed pods outside of tunnels: 0

Clients without an identity of the mesh
  stock, outside the mesh, asks catalog: served, in the clear (the shop saw 10.0.0.4); a policy that requires an identity would refuse it
  A client with a certificate of its own making at port 15008: rejected (tlsv1 alert unknown ca)
  A client without a certificate at port 15008: rejected (tlsv13 alert certificate required)
  The server showed TLSv1.3 and spiffe://cluster.local/ns/shop/sa/catalog

No plaintext of meshed pods crossed the nodes, and every connection has its name.
`);
  });

  it('names each edge that is missing, takes another path or has no identity, and each stranger that was let in', () => {
    const load = {
      visits: [{ family: 6 as const, requests: 1, failed: 1, failures: ['no'], ms: 1 }],
      markers: [],
      latencies: new Map(),
    };
    const edges = [
      { ...report.edges[0], source: 'visitor', destination: 'front', path: 'plaintext' },
      { ...report.edges[0], sourceIdentity: '' },
    ] as Report['edges'];
    const strangers = {
      ...report.strangers,
      noCertificate: { accepted: true, said: '' },
      server: { tlsVersion: 'TLSv1.2', identity: '' },
    };
    const failures = failuresOf(
      load,
      edges,
      { ...report.proof, failures: ['the capture is empty'] },
      strangers,
    );
    expect(failures).toEqual([
      'the capture is empty',
      '1 visitors over IPv6 got no page: no',
      'visitor → front should be tunnel and was seen plaintext',
      'front → catalog has no identity at one of its ends',
      'front → reviews should be tunnel and was seen not at all',
      'catalog → stock should be plaintext and was seen not at all',
      'stock → catalog should be plaintext and was seen not at all',
      'reviews → publisher should be untouched and was seen not at all',
      'port 15008 accepted a client without certificate',
      'the tunnel speaks TLSv1.2',
      'the tunnel shows no SPIFFE identity',
    ]);
  });
});
