/** Says to the native side what becomes of a pod's queries. */
import type { Logger } from '../base/logger.ts';
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { AskedName, NameService } from '../native/types.ts';
import { decide, failed, followed, hear } from './decide.ts';
import type { DnsCounters } from './dns-counters.ts';
import type { NameTable } from './find-name.ts';
import { type Query, typeName } from './query.ts';
import type { DnsRecord, Encoded } from './reply.ts';
import type { DnsClient, ResolveSettings } from './resolve.ts';

export interface AnswerParts {
  readonly names: NameService;
  readonly snapshot: () => NameTable;
  readonly settings: ResolveSettings;
  readonly counters: DnsCounters;
  readonly logger: Logger;
}

/** A query whose answer waits for the nameserver's word on an alias's target. */
interface Following {
  readonly query: Query;
  readonly protocol: DnsProtocol;
  readonly records: readonly DnsRecord[];
  readonly labels: number;
}

export class PodAnswers {
  readonly #parts: AnswerParts;
  readonly #following = new Map<number, Following>();

  constructor(parts: AnswerParts) {
    this.#parts = parts;
  }

  /** `client` undefined: the pod's own workload is not known. */
  answer({ id, message, protocol, slot }: AskedName, client: DnsClient | undefined): void {
    const { names, snapshot, settings, counters, logger } = this.#parts;
    const heard = hear(message);
    if (heard === undefined) {
      names.drop(id);
      return;
    }
    if (heard.kind === 'broken') {
      const labels = counters.numberOf('OTHER', protocol, client?.workload);
      names.answer(id, heard.answer, labels, false, 0, []);
      return;
    }
    const { query } = heard;
    const type = typeName(query.question.type);
    const labels = counters.numberOf(type, protocol, client?.workload);
    const decision = decide(snapshot(), client, query, protocol, settings);
    // With each query in the log none may be answered without a word.
    const isLogged = logger.isLevelEnabled('debug');
    if (isLogged) {
      const pod = client?.workload.uid;
      const { name } = query.question;
      logger.debug({ name, type, pod, slot, how: decision.kind }, 'a query of a pod');
    }
    switch (decision.kind) {
      case 'answer':
        this.#say(id, decision.encoded, labels, decision.keep && !isLogged);
        return;
      case 'forward':
        names.forward(id, decision.failure.bytes, labels, !isLogged);
        return;
      case 'follow':
        this.#following.set(id, { query, protocol, records: decision.records, labels });
        names.ask(id, decision.message, labels);
    }
  }

  /** What the nameserver said of an alias's target, or why it did not. */
  followed({ id, kind, message }: AskedName): void {
    const following = this.#following.get(id);
    if (following === undefined) return;
    this.#following.delete(id);
    this.#say(id, this.#afterFollowing(following, kind, message), following.labels, false);
  }

  #afterFollowing(
    { query, protocol, records }: Following,
    kind: AskedName['kind'],
    message: Buffer,
  ): Encoded {
    const { logger } = this.#parts;
    const { name } = query.question;
    try {
      if (kind === 'answer') return followed(query, protocol, records, message);
      logger.debug({ name, why: message.toString() }, 'a query was not answered');
    } catch (err) {
      logger.debug({ err, name }, 'a query was not answered');
    }
    return failed(query, protocol);
  }

  #say(id: number, { bytes, addressBytes, addresses }: Encoded, labels: number, keep: boolean): void {
    this.#parts.names.answer(id, bytes, labels, keep, addressBytes, addresses);
  }
}
