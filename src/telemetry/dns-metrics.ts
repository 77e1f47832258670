/** What the agent's resolvers did, as Istio's metrics tell it. */
import { type DnsCounts, type DnsReport, upstreamSeconds } from '../dns/dns-counters.ts';
import { counter, gauge, type MetricDescription } from './metric-catalogue.ts';
import { one, type Sample } from './scraped-metrics.ts';

const labels = [
  'request_query_type',
  'request_protocol',
  'source_canonical_service',
  'source_canonical_revision',
] as const;

export const dnsMetrics = {
  istio_dns_requests_total: counter('Queries of pods that came to the agent.', ...labels),
  istio_dns_upstream_requests_total: counter(
    'Those that were passed on to the nameserver of the pod.',
    ...labels,
  ),
  istio_dns_upstream_failures_total: counter('Those of them that got no answer.', ...labels),
  istio_dns_upstream_request_duration_seconds: {
    type: 'histogram',
    help: 'How long nameservers took to answer.',
    labels,
  },
  hadal_dns_queries_dropped_total: counter(
    'Queries that were not answered, by why: beyond the share of a pod in the time for names, beyond the rate of a pod, or too late.',
    'reason',
    'source_canonical_service',
    'source_canonical_revision',
  ),
  hadal_dns_decision_seconds_total: counter('Time of the main thread that queries have cost.'),
  hadal_dns_unread_configurations: gauge('Pods whose own resolv.conf cannot be read.'),
} as const satisfies Record<string, MetricDescription>;

const histogram = 'istio_dns_upstream_request_duration_seconds';
const bounds = [...upstreamSeconds.map(String), '+Inf'];

export function* dnsSamples(report: DnsReport | undefined): Generator<[keyof typeof dnsMetrics, Sample[]]> {
  if (report === undefined) return;
  const { counts: all, drops, decisionSeconds, unreadable } = report;
  const column = (value: (counts: DnsCounts) => number): Sample[] =>
    all
      .filter((counts) => value(counts) > 0)
      .map((counts) => ({ labels: counts.labels, value: value(counts) }));
  yield ['istio_dns_requests_total', column(({ requests }) => requests)];
  yield ['istio_dns_upstream_requests_total', column(({ upstreamRequests }) => upstreamRequests)];
  yield ['istio_dns_upstream_failures_total', column(({ upstreamFailures }) => upstreamFailures)];
  yield [histogram, all.flatMap(durationSamples)];
  yield [
    'hadal_dns_queries_dropped_total',
    drops.flatMap(({ labels: asker, byReason }) =>
      byReason
        .filter(([, value]) => value > 0)
        .map(([reason, value]) => ({ labels: { reason, ...asker }, value })),
    ),
  ];
  yield ['hadal_dns_decision_seconds_total', one(decisionSeconds)];
  yield ['hadal_dns_unread_configurations', one(unreadable)];
}

/** Each bucket holds those below it too. */
function durationSamples(counts: DnsCounts): Sample[] {
  let sum = 0;
  const buckets = bounds.map((le, index) => {
    sum += counts.upstreamBuckets[index] ?? 0;
    return { metricName: `${histogram}_bucket`, labels: { le, ...counts.labels }, value: sum };
  });
  if (sum === 0) return [];
  return [
    ...buckets,
    { metricName: `${histogram}_sum`, labels: counts.labels, value: counts.upstreamSecondsTotal },
    { metricName: `${histogram}_count`, labels: counts.labels, value: sum },
  ];
}
