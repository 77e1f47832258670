/** Answers one message of one pod: from the mesh, or by its nameserver. */
import dnsPacket from 'dns-packet';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import { type DnsCounters, dnsLabels } from './dns-counters.ts';
import type { NameTable } from './find-name.ts';
import { type Query, readQuery, responseCodes, typeName } from './query.ts';
import {
  type DnsRecord,
  emptyReply,
  encodeBroken,
  encodeTcpReply,
  encodeUdpReply,
  type Reply,
} from './reply.ts';
import { type DnsClient, type ResolveSettings, resolve } from './resolve.ts';
import type { Upstream } from './upstream.ts';

export interface AnswerParts {
  readonly snapshot: () => NameTable;
  /** Undefined when the pod's own workload is not known; waits a moment for it. */
  readonly client: () => Promise<DnsClient | undefined>;
  readonly upstream: Pick<Upstream, 'ask'>;
  readonly settings: ResolveSettings;
  readonly counters: DnsCounters;
  readonly logger: Logger;
}

/** Undefined: say nothing. Never rejects. */
export async function answer(
  parts: AnswerParts,
  message: Buffer,
  protocol: DnsProtocol,
  nameserver: string,
): Promise<Buffer | undefined> {
  const read = readQuery(message);
  if (read.kind === 'noise') return undefined;
  if (read.kind === 'broken') return encodeBroken(read.id, read.opcode, responseCodes.FORMERR);
  const { query } = read;
  const encode = (reply: Reply) =>
    protocol === 'udp' ? encodeUdpReply(query, reply) : encodeTcpReply(query, reply);
  try {
    const client = await parts.client();
    const asking = new Asking(parts, { message, query, protocol, nameserver, client });
    const resolution = resolve(parts.snapshot(), client, query, parts.settings);
    asking.log(resolution.kind);
    if (resolution.kind === 'reply') return encode(resolution.reply);
    if (resolution.kind === 'forward') return await asking.forward();
    return encode(await asking.follow(resolution.records, resolution.target));
  } catch (err) {
    parts.logger.debug({ err, name: query.question.name, nameserver }, 'a query was not answered');
    return encode(emptyReply(responseCodes.SERVFAIL));
  }
}

interface Asked {
  readonly message: Buffer;
  readonly query: Query;
  readonly protocol: DnsProtocol;
  readonly nameserver: string;
  readonly client: DnsClient | undefined;
}

class Asking {
  readonly #parts: AnswerParts;
  readonly #asked: Asked;
  readonly #labels;

  constructor(parts: AnswerParts, asked: Asked) {
    this.#parts = parts;
    this.#asked = asked;
    const type = typeName(asked.query.question.type);
    this.#labels = dnsLabels(type, asked.protocol, asked.client?.workload);
    parts.counters.request(this.#labels);
  }

  log(how: string): void {
    const { query, nameserver, client } = this.#asked;
    const { name, type } = query.question;
    this.#parts.logger.debug(
      { name, type: typeName(type), pod: client?.workload.uid, nameserver, how },
      'a query of a pod',
    );
  }

  forward(): Promise<Buffer> {
    return this.#ask(this.#asked.message, this.#asked.query);
  }

  /** Asks for the addresses of the alias's target. */
  async follow(records: readonly DnsRecord[], target: string): Promise<Reply> {
    const { type } = this.#asked.query.question;
    const message = dnsPacket.encode({
      type: 'query',
      id: 0,
      flags: dnsPacket.RECURSION_DESIRED,
      questions: [{ type: type === 28 ? 'AAAA' : 'A', name: target, class: 'IN' }],
    });
    const read = readQuery(message);
    if (read.kind !== 'query')
      throw new HadalError('ERR_DNS_NAME', `the alias leads to '${target}', which is no name`);
    const answered = dnsPacket.decode(await this.#ask(message, read.query));
    const found = (answered.answers ?? []).flatMap((record): DnsRecord[] => {
      const ttl = 'ttl' in record ? (record.ttl ?? 0) : 0;
      if (record.type === 'A' || record.type === 'AAAA')
        return [{ type: record.type, name: record.name, ttl, address: record.data }];
      return record.type === 'CNAME' ? [{ type: 'CNAME', name: record.name, ttl, target: record.data }] : [];
    });
    return { ...emptyReply(responseCodes.NOERROR), answers: [...records, ...found] };
  }

  async #ask(message: Buffer, { question }: Query): Promise<Buffer> {
    const { counters, upstream } = this.#parts;
    const { nameserver, protocol } = this.#asked;
    const started = performance.now();
    try {
      const answered = await upstream.ask({ message, question, nameserver, protocol });
      counters.upstreamAnswered(this.#labels, (performance.now() - started) / 1000);
      return answered;
    } catch (caught) {
      counters.upstreamFailed(this.#labels);
      throw caught;
    }
  }
}
