/** What the resolvers did, as the metrics tell it. */
import type { DnsProtocol } from '../kernel/dns-capture.ts';
import type { Workload } from '../model/workload.ts';

export interface DnsLabels {
  readonly request_query_type: string;
  readonly request_protocol: DnsProtocol;
  readonly source_canonical_service: string;
  readonly source_canonical_revision: string;
}

export interface DnsCounts {
  readonly labels: DnsLabels;
  readonly requests: number;
  readonly upstreamRequests: number;
  readonly upstreamFailures: number;
  /** Answers within each of `upstreamSeconds`, then all. */
  readonly upstreamBuckets: readonly number[];
  readonly upstreamSecondsTotal: number;
}

/** Bounds of the buckets. */
export const upstreamSeconds = [0.0005, 0.001, 0.01, 0.1, 1, 5] as const;

type Mutable = { -readonly [Key in keyof DnsCounts]: DnsCounts[Key] } & { upstreamBuckets: number[] };

export class DnsCounters {
  readonly #counts = new Map<string, Mutable>();

  read(): readonly DnsCounts[] {
    return [...this.#counts.values()];
  }

  request(labels: DnsLabels): void {
    this.#of(labels).requests++;
  }

  /** An answer, of whatever kind, came after `seconds`. */
  upstreamAnswered(labels: DnsLabels, seconds: number): void {
    const counts = this.#of(labels);
    counts.upstreamRequests++;
    counts.upstreamSecondsTotal += seconds;
    const bucket = upstreamSeconds.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? upstreamSeconds.length : bucket;
    counts.upstreamBuckets[index] = (counts.upstreamBuckets[index] ?? 0) + 1;
  }

  upstreamFailed(labels: DnsLabels): void {
    const counts = this.#of(labels);
    counts.upstreamRequests++;
    counts.upstreamFailures++;
  }

  #of(labels: DnsLabels): Mutable {
    const key = Object.values(labels).join('\0');
    const known = this.#counts.get(key);
    if (known !== undefined) return known;
    const counts = {
      labels,
      requests: 0,
      upstreamRequests: 0,
      upstreamFailures: 0,
      upstreamBuckets: upstreamSeconds.map(() => 0).concat(0),
      upstreamSecondsTotal: 0,
    };
    this.#counts.set(key, counts);
    return counts;
  }
}

export function dnsLabels(type: string, protocol: DnsProtocol, client: Workload | undefined): DnsLabels {
  return {
    request_query_type: type,
    request_protocol: protocol,
    source_canonical_service: client?.canonicalName || 'unknown',
    source_canonical_revision: client?.canonicalRevision || 'unknown',
  };
}
