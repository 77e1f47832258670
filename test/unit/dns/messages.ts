/** Queries and answers for tests, written and read by a library that shares no code with ours. */
import dnsPacket, { type DecodedPacket } from 'dns-packet';
import { type Query, readQuery } from '../../../src/dns/query.ts';

export interface QueryOptions {
  readonly id?: number;
  readonly opcode?: 'QUERY' | 'UPDATE' | 'NOTIFY';
  readonly udpBytes?: number;
  readonly ednsVersion?: number;
}

export function queryBytes(name: string, type = 'A', options: QueryOptions = {}): Buffer {
  const opcodes = { QUERY: 0, NOTIFY: 4 << 11, UPDATE: 5 << 11 };
  return dnsPacket.encode({
    type: 'query',
    id: options.id ?? 4711,
    flags: dnsPacket.RECURSION_DESIRED | opcodes[options.opcode ?? 'QUERY'],
    questions: [{ name, type: type as 'A', class: 'IN' }],
    additionals:
      options.udpBytes === undefined
        ? []
        : [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: options.udpBytes,
              ednsVersion: options.ednsVersion ?? 0,
              extendedRcode: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ],
  });
}

export function query(name: string, type = 'A', options: QueryOptions = {}): Query {
  const read = readQuery(queryBytes(name, type, options));
  if (read.kind !== 'query') throw new Error(`${name} ${type} is ${read.kind}`);
  return read.query;
}

export function decoded(bytes: Buffer): DecodedPacket {
  return dnsPacket.decode(bytes);
}
