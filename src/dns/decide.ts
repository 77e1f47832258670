/** What becomes of one message of one pod: an answer from the mesh, or its nameserver is asked. Pure but for the order of answers. */
import dnsPacket from 'dns-packet';
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { NameTable } from './find-name.ts';
import { type Query, readQuery, responseCodes } from './query.ts';
import {
  type DnsRecord,
  type Encoded,
  emptyReply,
  encodeBroken,
  encodeTcpReply,
  encodeUdpReply,
  type Reply,
} from './reply.ts';
import { type DnsClient, type ResolveSettings, resolve } from './resolve.ts';

export type Decision =
  /** `keep`: the same message means the same until the mesh changes. */
  | { readonly kind: 'answer'; readonly encoded: Encoded; readonly keep: boolean }
  /** `failure` is said when the nameserver does not answer. */
  | { readonly kind: 'forward'; readonly failure: Encoded }
  /** The nameserver is asked for the target of an alias; its answer comes behind `records`. */
  | { readonly kind: 'follow'; readonly message: Buffer; readonly records: readonly DnsRecord[] };

/** A message that is a question; undefined when nothing may be said to it. */
export type Heard =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'broken'; readonly answer: Buffer }
  | undefined;

export function hear(message: Buffer): Heard {
  const read = readQuery(message);
  if (read.kind === 'noise') return undefined;
  if (read.kind === 'query') return read;
  return { kind: 'broken', answer: encodeBroken(read.id, read.opcode, responseCodes.FORMERR) };
}

/** `client` undefined: the pod's own workload is not known. */
export function decide(
  snapshot: NameTable,
  client: DnsClient | undefined,
  query: Query,
  protocol: DnsProtocol,
  settings: ResolveSettings,
): Decision {
  const resolution = resolve(snapshot, client, query, settings);
  if (resolution.kind === 'reply')
    return {
      kind: 'answer',
      encoded: encodeReply(query, protocol, resolution.reply),
      keep: client !== undefined,
    };
  if (resolution.kind === 'forward') return { kind: 'forward', failure: failed(query, protocol) };
  const message = questionFor(query, resolution.target);
  // A name that no message can hold, as somebody may have written it into an alias.
  if (readQuery(message).kind !== 'query')
    return { kind: 'answer', encoded: failed(query, protocol), keep: true };
  return { kind: 'follow', message, records: resolution.records };
}

export function failed(query: Query, protocol: DnsProtocol): Encoded {
  return encodeReply(query, protocol, emptyReply(responseCodes.SERVFAIL));
}

/** What the nameserver said of the alias's target, behind what led there. */
export function followed(
  query: Query,
  protocol: DnsProtocol,
  records: readonly DnsRecord[],
  answer: Buffer,
): Encoded {
  const found = (dnsPacket.decode(answer).answers ?? []).flatMap((record): DnsRecord[] => {
    const ttl = 'ttl' in record ? (record.ttl ?? 0) : 0;
    if (record.type === 'A' || record.type === 'AAAA')
      return [{ type: record.type, name: record.name, ttl, address: record.data }];
    return record.type === 'CNAME' ? [{ type: 'CNAME', name: record.name, ttl, target: record.data }] : [];
  });
  return encodeReply(query, protocol, {
    ...emptyReply(responseCodes.NOERROR),
    answers: [...records, ...found],
  });
}

function encodeReply(query: Query, protocol: DnsProtocol, reply: Reply): Encoded {
  return protocol === 'udp' ? encodeUdpReply(query, reply) : encodeTcpReply(query, reply);
}

function questionFor({ question }: Query, target: string): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 0,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: question.type === 28 ? 'AAAA' : 'A', name: target, class: 'IN' }],
  });
}
