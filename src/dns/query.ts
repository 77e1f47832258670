/**
 * A query as it came over the wire. Names are read here and not by a library, since the answer must repeat the question byte
 * for byte: resolvers vary the case of its letters to tell forged answers (0x20).
 */

export const recordTypes = {
  A: 1,
  CNAME: 5,
  SOA: 6,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
} as const;
export const responseCodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;
export type ResponseCode = (typeof responseCodes)[keyof typeof responseCodes];

export const headerBytes = 12;
export const classInternet = 1;
/** Without EDNS no answer over UDP may be longer. */
export const plainUdpBytes = 512;

export interface Question {
  /** As it came, from the name to the class. */
  readonly bytes: Buffer;
  /** Labels in lower case, without the root. */
  readonly labels: readonly string[];
  /** Labels joined by dots; '' for the root, and for names with a dot inside a label, which nobody here has. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly question: Question;
  /** Undefined without EDNS0. */
  readonly edns: { readonly udpBytes: number; readonly version: number } | undefined;
}

/** `broken`: a query that can be answered with FORMERR; `noise`: nothing that may be answered at all. */
export type ReadQuery =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'broken'; readonly id: number; readonly opcode: number }
  | { readonly kind: 'noise' };

const noise: ReadQuery = Object.freeze({ kind: 'noise' });
const mostNameBytes = 255;

/** Never throws, whatever the bytes. */
export function readQuery(bytes: Buffer): ReadQuery {
  if (bytes.length < headerBytes) return noise;
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  // An answer to an answer would be the start of a loop.
  if ((flags & 0x8000) !== 0) return noise;
  const opcode = (flags >> 11) & 15;
  const broken: ReadQuery = { kind: 'broken', id, opcode };
  const question = bytes.readUInt16BE(4) === 1 ? readQuestion(bytes) : undefined;
  if (question === undefined) return broken;
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10);
  // An UPDATE carries records of its own kind, and is not carried out anyway.
  const edns = opcode === 0 ? findEdns(bytes, headerBytes + question.bytes.length, records) : undefined;
  if (edns === 'broken') return broken;
  const recursionDesired = (flags & 0x0100) !== 0;
  const checkingDisabled = (flags & 0x0010) !== 0;
  return { kind: 'query', query: { id, opcode, recursionDesired, checkingDisabled, question, edns } };
}

/** The question of a message with one; undefined when it is cut short or its name points elsewhere. */
export function readQuestion(bytes: Buffer): Question | undefined {
  const labels: string[] = [];
  let at = headerBytes;
  let hasDot = false;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63 || at - headerBytes + length >= mostNameBytes) return undefined;
    at++;
    if (length === 0) break;
    if (at + length > bytes.length) return undefined;
    const label = bytes.toString('latin1', at, at + length).toLowerCase();
    hasDot ||= label.includes('.');
    labels.push(label);
    at += length;
  }
  if (at + 4 > bytes.length) return undefined;
  return {
    bytes: bytes.subarray(headerBytes, at + 4),
    labels,
    name: hasDot ? '' : labels.join('.'),
    type: bytes.readUInt16BE(at),
    class: bytes.readUInt16BE(at + 2),
  };
}

function findEdns(bytes: Buffer, start: number, records: number): Query['edns'] | 'broken' {
  let at = start;
  let found: Query['edns'];
  for (let record = 0; record < records; record++) {
    const isRoot = bytes[at] === 0;
    at = skipName(bytes, at);
    if (at < 0 || at + 10 > bytes.length) return 'broken';
    const type = bytes.readUInt16BE(at);
    const end = at + 10 + bytes.readUInt16BE(at + 8);
    if (end > bytes.length) return 'broken';
    if (type === recordTypes.OPT) {
      if (found !== undefined || !isRoot) return 'broken';
      found = { udpBytes: Math.max(plainUdpBytes, bytes.readUInt16BE(at + 2)), version: bytes[at + 5] ?? 0 };
    }
    at = end;
  }
  return found;
}

/** Behind the name at `at`, -1 when it is cut short. A pointer ends it. */
function skipName(bytes: Buffer, at: number): number {
  let next = at;
  for (;;) {
    const length = bytes[next];
    if (length === undefined) return -1;
    if (length === 0) return next + 1;
    if (length >= 0xc0) return next + 2;
    if (length > 63) return -1;
    next += 1 + length;
  }
}

/** `A`, `SRV` or `TYPE65`; unknown ones of a hostile pod are one name, so that they cannot fill the metrics. */
export function typeName(type: number): string {
  return typeNames.get(type) ?? 'OTHER';
}

const typeNames = new Map<number, string>([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [6, 'SOA'],
  [12, 'PTR'],
  [15, 'MX'],
  [16, 'TXT'],
  [28, 'AAAA'],
  [33, 'SRV'],
  [35, 'NAPTR'],
  [43, 'DS'],
  [48, 'DNSKEY'],
  [64, 'SVCB'],
  [65, 'HTTPS'],
  [255, 'ANY'],
]);
