/** What the resolvers did, as the metrics tell it. Counted natively, under numbers whose labels are known here. */
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { Workload } from '../model/workload.ts';
import type { NameService } from '../native/types.ts';

export interface AskerLabels {
  readonly source_canonical_service: string;
  readonly source_canonical_revision: string;
}

export interface DnsLabels extends AskerLabels {
  readonly request_query_type: string;
  readonly request_protocol: DnsProtocol;
}

export interface DnsCounts {
  readonly labels: DnsLabels;
  readonly requests: number;
  readonly upstreamRequests: number;
  readonly upstreamFailures: number;
  /** Answers within each of `upstreamSeconds`, then all others. */
  readonly upstreamBuckets: readonly number[];
  readonly upstreamSecondsTotal: number;
}

export type DropReason = (typeof dropReasons)[number];

export interface DnsDrops {
  readonly labels: AskerLabels;
  readonly byReason: readonly (readonly [DropReason, number])[];
}

export interface DnsReport {
  readonly counts: readonly DnsCounts[];
  readonly drops: readonly DnsDrops[];
  /** Time of the agent's main thread that queries have cost. */
  readonly decisionSeconds: number;
  /** Pods whose own resolv.conf does not count, since it cannot be read. */
  readonly unreadable: number;
}

/** Bounds of the buckets. */
export const upstreamSeconds = [0.0005, 0.001, 0.01, 0.1, 1, 5] as const;
export const dropReasons = ['over_share', 'over_rate', 'too_late'] as const;

const countColumns = 5 + upstreamSeconds.length + 1;
const dropColumns = 1 + dropReasons.length;

export class DnsCounters {
  readonly #labels: DnsLabels[] = [];
  readonly #askers: AskerLabels[] = [];
  readonly #numbers = new Map<string, number>();

  /** The number under which these are counted. */
  numberOf(type: string, protocol: DnsProtocol, client: Workload | undefined): number {
    const asker = askerOf(client);
    const { source_canonical_service: service, source_canonical_revision: revision } = asker;
    return this.#number(`${type}\0${protocol}\0${service}\0${revision}`, this.#labels, () => ({
      request_query_type: type,
      request_protocol: protocol,
      ...asker,
    }));
  }

  /** The number under which queries are counted that nobody has read. */
  numberOfAsker(client: Workload | undefined): number {
    const asker = askerOf(client);
    const { source_canonical_service: service, source_canonical_revision: revision } = asker;
    return this.#number(`${service}\0${revision}`, this.#askers, () => asker);
  }

  read(native: Pick<NameService, 'answers' | 'drops'>): Pick<DnsReport, 'counts' | 'drops'> {
    return { counts: this.#counts(native.answers()), drops: this.#drops(native.drops()) };
  }

  #counts(rows: Float64Array): DnsCounts[] {
    return rowsOf(rows, countColumns).flatMap(
      ([number = 0, requests = 0, upstreamRequests = 0, upstreamFailures = 0, seconds = 0, ...buckets]) => {
        const labels = this.#labels[number];
        if (labels === undefined) return [];
        return {
          labels,
          requests,
          upstreamRequests,
          upstreamFailures,
          upstreamBuckets: buckets,
          upstreamSecondsTotal: seconds,
        };
      },
    );
  }

  #drops(rows: Float64Array): DnsDrops[] {
    return rowsOf(rows, dropColumns).flatMap(([number = 0, ...values]) => {
      const labels = this.#askers[number];
      if (labels === undefined) return [];
      return { labels, byReason: dropReasons.map((reason, index) => [reason, values[index] ?? 0] as const) };
    });
  }

  #number<T>(key: string, known: T[], make: () => T): number {
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = known.push(make()) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}

function askerOf(client: Workload | undefined): AskerLabels {
  return {
    source_canonical_service: client?.canonicalName || 'unknown',
    source_canonical_revision: client?.canonicalRevision || 'unknown',
  };
}

function rowsOf(numbers: Float64Array, columns: number): number[][] {
  return Array.from({ length: numbers.length / columns }, (_, row) => [
    ...numbers.subarray(row * columns, (row + 1) * columns),
  ]);
}
