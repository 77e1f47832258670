/** Answers on the wire: the question repeated as it came, names compressed against it, cut to what the asker takes. */
import { parseAddress } from '../model/address.ts';
import {
  classInternet,
  headerBytes,
  plainUdpBytes,
  type Query,
  type ResponseCode,
  recordTypes,
} from './query.ts';

export type DnsRecord =
  | { readonly type: 'A' | 'AAAA'; readonly name: string; readonly ttl: number; readonly address: string }
  | { readonly type: 'CNAME'; readonly name: string; readonly ttl: number; readonly target: string }
  | {
      readonly type: 'SRV';
      readonly name: string;
      readonly ttl: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | { readonly type: 'SOA'; readonly name: string; readonly ttl: number };

export interface Reply {
  readonly code: ResponseCode;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
}

/** A refusal, or an answer without records. */
export function emptyReply(code: ResponseCode): Reply {
  return { code, authoritative: false, answers: [], authority: [], additional: [] };
}

/** An answer, and where in it addresses stand that may come in any order. */
export interface Encoded {
  readonly bytes: Buffer;
  readonly addressBytes: 0 | 4 | 16;
  readonly addresses: readonly number[];
}

/** What we say we take, and never exceed: no fragment on any path (DNS flag day 2020). */
const ownUdpBytes = 1232;
const mostTcpBytes = 65_535;
const ednsBytes = 11;
const nothing: Encoded = Object.freeze({ bytes: Buffer.alloc(0), addressBytes: 0, addresses: [] });

/** The answer over UDP; without records and marked as truncated when it would be too long, so that the asker comes by TCP. */
export function encodeUdpReply(query: Query, reply: Reply): Encoded {
  const room = query.edns === undefined ? plainUdpBytes : Math.min(query.edns.udpBytes, ownUdpBytes);
  const whole = encode(query, reply, room);
  if (whole !== undefined) return whole;
  const withoutExtras = encode(query, { ...reply, additional: [] }, room);
  if (withoutExtras !== undefined) return withoutExtras;
  const empty = { ...reply, answers: [], authority: [], additional: [] };
  return encode(query, empty, Number.POSITIVE_INFINITY, true) ?? nothing;
}

/** The answer over TCP; with as many records as a message holds, when there are thousands. */
export function encodeTcpReply(query: Query, reply: Reply): Encoded {
  for (let { length } = reply.answers; ; length = Math.floor(length / 2)) {
    const part = { ...reply, answers: reply.answers.slice(0, length) };
    const encoded =
      encode(query, part, mostTcpBytes) ?? encode(query, { ...part, additional: [] }, mostTcpBytes);
    if (encoded !== undefined || length === 0) return encoded ?? nothing;
  }
}

/** To bytes that are no whole query: nothing of it can be repeated. */
export function encodeBroken(id: number, opcode: number, code: ResponseCode): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt16BE(0x8000 | (opcode << 11) | code, 2);
  return bytes;
}

function encode(query: Query, reply: Reply, room: number, truncated = false): Encoded | undefined {
  const writer = new Writer(query);
  const sections = [reply.answers, reply.authority, reply.additional];
  const budget = room - (query.edns === undefined ? 0 : ednsBytes);
  for (const record of sections.flat()) {
    writer.record(record);
    if (writer.length > budget) return undefined;
  }
  if (query.edns !== undefined) writer.edns(reply.code);
  writer.header(reply, sections, truncated);
  return writer.length <= room ? writer.done(reply) : undefined;
}

class Writer {
  readonly #query: Query;
  #bytes: Buffer;
  #at: number;
  readonly #addresses: number[] = [];
  /** Where each name, in lower case, stands already. */
  readonly #names = new Map<string, number>();

  constructor(query: Query) {
    this.#query = query;
    const { bytes, labels } = query.question;
    // All of it up to the length is written.
    this.#bytes = Buffer.allocUnsafe(512);
    bytes.copy(this.#bytes, headerBytes);
    this.#at = headerBytes + bytes.length;
    let at = headerBytes;
    labels.forEach((label, index) => {
      this.#names.set(nameKey(labels.slice(index)), at);
      at += 1 + label.length;
    });
  }

  get length(): number {
    return this.#at;
  }

  record(record: DnsRecord): void {
    this.#name(record.name);
    this.#number16(recordTypes[record.type]);
    this.#number16(classInternet);
    this.#number32(record.ttl);
    const lengthAt = this.#at;
    this.#number16(0);
    this.#data(record);
    this.#bytes.writeUInt16BE(this.#at - lengthAt - 2, lengthAt);
  }

  edns(code: ResponseCode): void {
    this.#reserve(ednsBytes);
    this.#bytes[this.#at++] = 0;
    this.#number16(recordTypes.OPT);
    this.#number16(ownUdpBytes);
    this.#number32((code >> 4) << 24);
    this.#number16(0);
  }

  header(
    { code, authoritative }: Reply,
    sections: readonly (readonly unknown[])[],
    truncated: boolean,
  ): void {
    const { id, opcode, recursionDesired, checkingDisabled, edns } = this.#query;
    const flags =
      0x8080 |
      (opcode << 11) |
      (authoritative ? 0x0400 : 0) |
      (truncated ? 0x0200 : 0) |
      (recursionDesired ? 0x0100 : 0) |
      (checkingDisabled ? 0x0010 : 0) |
      (code & 15);
    const [answers = [], authority = [], additional = []] = sections;
    const counts = [id, flags, 1, answers.length, authority.length, additional.length + (edns ? 1 : 0)];
    counts.forEach((value, index) => {
      this.#bytes.writeUInt16BE(value, 2 * index);
    });
  }

  done({ answers, additional }: Reply): Encoded {
    const bytes = this.#bytes.subarray(0, this.#at);
    // Addresses of several names, as behind SRV, belong each to its own.
    const last = answers.at(-1);
    const isOne = ({ type, name }: DnsRecord) =>
      type === 'CNAME' || (type === last?.type && name === last.name && (type === 'A' || type === 'AAAA'));
    const mixed = additional.length > 0 || !answers.every(isOne);
    const isIpv4 = last?.type === 'A';
    return { bytes, addressBytes: isIpv4 ? 4 : 16, addresses: mixed ? [] : this.#addresses };
  }

  #data(record: DnsRecord): void {
    switch (record.type) {
      case 'A':
      case 'AAAA':
        this.#address(record.address, record.type === 'A' ? 4 : 16);
        break;
      case 'CNAME':
        this.#name(record.target);
        break;
      case 'SRV':
        for (const value of [0, record.weight, record.port]) this.#number16(value);
        // RFC 2782: this name is not compressed.
        this.#name(record.target, false);
        break;
      case 'SOA':
        this.#name(`ns.dns.${record.name}`);
        this.#name(`hostmaster.${record.name}`);
        // Serial, refresh, retry, expire; the last says how long the absence of a record may be believed.
        for (const value of [1, 7200, 1800, 86_400, record.ttl]) this.#number32(value);
    }
  }

  #address(text: string, size: 4 | 16): void {
    const value = parseAddress(text)?.value ?? 0n;
    this.#reserve(size);
    this.#addresses.push(this.#at);
    for (let index = size - 1; index >= 0; index--)
      this.#bytes[this.#at++] = Number((value >> BigInt(8 * index)) & 255n);
  }

  #name(name: string, compress = true): void {
    const labels = name === '' ? [] : name.split('.');
    for (let index = 0; index < labels.length; index++) {
      const key = nameKey(labels.slice(index));
      const known = compress ? this.#names.get(key) : undefined;
      if (known !== undefined) {
        this.#number16(0xc000 | known);
        return;
      }
      if (this.#at < 0x4000 && !this.#names.has(key)) this.#names.set(key, this.#at);
      const label = labels[index] ?? '';
      this.#reserve(label.length + 1);
      this.#bytes[this.#at++] = label.length;
      this.#at += this.#bytes.write(label, this.#at, 'latin1');
    }
    this.#reserve(1);
    this.#bytes[this.#at++] = 0;
  }

  #number16(value: number): void {
    this.#reserve(2);
    this.#at = this.#bytes.writeUInt16BE(value, this.#at);
  }

  #number32(value: number): void {
    this.#reserve(4);
    this.#at = this.#bytes.writeUInt32BE(value, this.#at);
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 * this.#bytes.length + size);
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}

/** Labels may hold any byte, so they are not joined by a dot. */
function nameKey(labels: readonly string[]): string {
  return labels.map((label) => `${label.length}:${label.toLowerCase()}`).join('');
}
