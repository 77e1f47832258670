import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readQuery, responseCodes } from '../../../src/dns/query.ts';
import {
  type DnsRecord,
  emptyReply,
  encodeBroken,
  encodeTcpReply as encodeTcp,
  encodeUdpReply as encodeUdp,
  type Reply,
} from '../../../src/dns/reply.ts';
import { FrameReader, framed } from '../../../src/lab/tcp-frames.ts';
import { decoded, query, queryBytes } from './messages.ts';

const encodeUdpReply = (...args: Parameters<typeof encodeUdp>) => encodeUdp(...args).bytes;
const encodeTcpReply = (...args: Parameters<typeof encodeTcp>) => encodeTcp(...args).bytes;
const name = 'catalog.shop.svc.cluster.local';
const reply = (answers: readonly DnsRecord[], more: Partial<Reply> = {}): Reply => ({
  ...emptyReply(responseCodes.NOERROR),
  authoritative: true,
  answers,
  ...more,
});
const addresses = (count: number): DnsRecord[] =>
  Array.from({ length: count }, (_, index) => ({
    type: 'A',
    name,
    ttl: 30,
    address: `10.0.${index >> 8}.${index & 255}`,
  }));

describe('an answer on the wire', () => {
  it('is read by others as it was meant', () => {
    const records: DnsRecord[] = [
      { type: 'CNAME', name: 'catalog', ttl: 30, target: name },
      { type: 'A', name, ttl: 30, address: '10.96.0.1' },
      { type: 'AAAA', name, ttl: 30, address: 'fd96::1' },
      { type: 'SRV', name: `_http._tcp.${name}`, ttl: 30, weight: 100, port: 80, target: name },
    ];
    const packet = decoded(
      encodeTcpReply(
        query('catalog'),
        reply(records, { authority: [{ type: 'SOA', name: 'cluster.local', ttl: 30 }] }),
      ),
    );
    expect(packet).toMatchObject({
      id: 4711,
      flag_qr: true,
      flag_aa: true,
      flag_rd: true,
      flag_ra: true,
      rcode: 'NOERROR',
    });
    expect(packet.answers).toMatchObject([
      { type: 'CNAME', name: 'catalog', ttl: 30, data: name },
      { type: 'A', name, data: '10.96.0.1' },
      { type: 'AAAA', name, data: 'fd96::1' },
      { type: 'SRV', name: `_http._tcp.${name}`, data: { priority: 0, weight: 100, port: 80, target: name } },
    ]);
    expect(packet.authorities).toMatchObject([
      { type: 'SOA', name: 'cluster.local', data: { mname: 'ns.dns.cluster.local', minimum: 30 } },
    ]);
  });

  it('repeats the question with its letters as they were', () => {
    const bytes = encodeUdpReply(
      query('CaTaLoG.Shop'),
      reply([{ type: 'A', name: 'catalog.shop', ttl: 30, address: '10.0.0.1' }]),
    );
    expect(decoded(bytes).questions?.[0]?.name).toBe('CaTaLoG.Shop');
    expect(decoded(bytes).answers?.[0]?.name).toBe('CaTaLoG.Shop');
  });

  it('names each name once', () => {
    const bytes = encodeUdpReply(query(name), reply(addresses(20)));
    expect(bytes.length).toBe(12 + name.length + 2 + 4 + 20 * 16);
  });

  it.each([
    { udpBytes: undefined, room: 512 },
    { udpBytes: 700, room: 700 },
    { udpBytes: 65_000, room: 1232 },
    { udpBytes: 100, room: 512 },
  ])(
    'of more than $room bytes over UDP is cut off and marked, with $udpBytes asked for',
    ({ udpBytes, room }) => {
      const asked = query(name, 'A', udpBytes === undefined ? {} : { udpBytes });
      const fits = Math.floor((room - 12 - name.length - 6 - (udpBytes === undefined ? 0 : 11)) / 16);
      const whole = encodeUdpReply(asked, reply(addresses(fits)));
      expect(whole.length).toBeLessThanOrEqual(room);
      expect(decoded(whole)).toMatchObject({ flag_tc: false });
      expect(decoded(whole).answers).toHaveLength(fits);
      const cut = decoded(encodeUdpReply(asked, reply(addresses(fits + 1))));
      expect(cut).toMatchObject({ flag_tc: true, answers: [] });
      expect(cut.additionals?.map(({ type }) => type)).toEqual(udpBytes === undefined ? [] : ['OPT']);
    },
  );

  it('over TCP holds as much as a message can', () => {
    const bytes = encodeTcpReply(query(name), reply(addresses(6_000)));
    expect(bytes.length).toBeLessThanOrEqual(65_535);
    expect(decoded(bytes).answers?.length).toBeGreaterThan(2_900);
  });

  it('to a later EDNS says which it speaks', () => {
    const packet = decoded(
      encodeUdpReply(query(name, 'A', { udpBytes: 1232, ednsVersion: 1 }), emptyReply(responseCodes.BADVERS)),
    );
    expect(packet.additionals).toMatchObject([
      { type: 'OPT', extendedRcode: 1, ednsVersion: 0, udpPayloadSize: 1232 },
    ]);
  });
});

describe('bytes that are no query', () => {
  it('never throw, and what is answered belongs to what was asked', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (random) => {
        const bytes = Buffer.from(random);
        const read = readQuery(bytes);
        if (read.kind === 'noise') return;
        if (read.kind === 'broken') {
          expect(encodeBroken(read.id, read.opcode, responseCodes.FORMERR).readUInt16BE(0)).toBe(
            bytes.readUInt16BE(0),
          );
          return;
        }
        const answered = encodeUdpReply(read.query, reply(addresses(3)));
        const { bytes: question } = read.query.question;
        expect(answered.readUInt16BE(0)).toBe(bytes.readUInt16BE(0));
        expect(answered.subarray(12, 12 + question.length)).toEqual(question);
      }),
      { numRuns: 2_000 },
    );
  });

  it('may be cut or changed anywhere', () => {
    const whole = queryBytes(name, 'A', { udpBytes: 1232 });
    fc.assert(
      fc.property(fc.nat(whole.length), fc.nat(whole.length - 1), fc.nat(255), (length, at, value) => {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        const read = readQuery(bytes.subarray(0, length));
        expect(['noise', 'broken', 'query']).toContain(read.kind);
        if (read.kind === 'query') expect(encodeUdpReply(read.query, reply([])).length).toBeGreaterThan(11);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['an answer', Buffer.from([0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]), 'noise'],
    ['eleven bytes', Buffer.alloc(11), 'noise'],
    ['no question', Buffer.alloc(12), 'broken'],
    [
      'a name that points to itself',
      Buffer.from([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]),
      'broken',
    ],
    ['a label without an end', Buffer.from([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 97]), 'broken'],
    [
      'records that are not there',
      Buffer.from([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 1, 0, 1]),
      'broken',
    ],
  ])('%s is %s', (_, bytes, kind) => {
    expect(readQuery(bytes).kind).toBe(kind);
  });

  it('a name with a dot inside a label is nobody’s', () => {
    const bytes = Buffer.from([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 97, 46, 98, 0, 0, 1, 0, 1]);
    expect(readQuery(bytes)).toMatchObject({
      kind: 'query',
      query: { question: { name: '', labels: ['a.b'] } },
    });
  });
});

describe('places of addresses in an answer', () => {
  it('are told where their order means nothing', () => {
    const alias: DnsRecord = { type: 'CNAME', name: 'catalog', ttl: 30, target: name };
    const {
      bytes,
      addressBytes,
      addresses: places,
    } = encodeUdp(query('catalog'), reply([alias, ...addresses(3)]));
    expect(places.map((at) => [...bytes.subarray(at, at + addressBytes)])).toEqual([
      [10, 0, 0, 0],
      [10, 0, 0, 1],
      [10, 0, 0, 2],
    ]);
    const six: DnsRecord = { type: 'AAAA', name, ttl: 30, address: 'fd00::1' };
    expect(encodeUdp(query(name, 'AAAA'), reply([six]))).toMatchObject({ addressBytes: 16, addresses: [60] });
  });

  it.each<[string, DnsRecord[], DnsRecord[]]>([
    ['of two families', [...addresses(1), { type: 'AAAA', name, ttl: 30, address: 'fd00::1' }], []],
    ['of two names', [...addresses(1), { type: 'A', name: 'other', ttl: 30, address: '10.0.0.9' }], []],
    ['behind the answer', [], addresses(2)],
  ])('%s are not', (_, answers, additional) => {
    expect(encodeUdp(query(name), reply(answers, { additional })).addresses).toEqual([]);
  });
});

describe('messages over TCP', () => {
  it('are found however the bytes come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages.map((message) => framed(Buffer.from(message))));
          const found: Buffer[] = [];
          const reader = new FrameReader((message) => found.push(Buffer.from(message)));
          for (let at = 0, turn = 0; at < stream.length; turn++) {
            const size = cuts[turn % cuts.length] ?? 1;
            reader.push(stream.subarray(at, at + size));
            at += size;
          }
          expect(found.map((message) => [...message])).toEqual(messages.map((message) => [...message]));
        },
      ),
    );
  });
});
