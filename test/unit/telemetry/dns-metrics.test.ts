import { expect, it } from 'vitest';
import { DnsCounters, upstreamSeconds } from '../../../src/dns/dns-counters.ts';
import { typeName } from '../../../src/dns/query.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { dnsMetrics, dnsSamples } from '../../../src/telemetry/dns-metrics.ts';
import { processMetrics } from '../../../src/telemetry/metric-catalogue.ts';
import { ScrapedMetrics } from '../../../src/telemetry/scraped-metrics.ts';

const client = createWorkload({ uid: 'u', canonicalName: 'front', canonicalRevision: 'v1' });
const printed =
  'request_query_type="AAAA",request_protocol="udp",source_canonical_service="front",source_canonical_revision="v1"';

async function render(counters: DnsCounters, answers: number[], drops: number[] = []): Promise<string[]> {
  const catalogue = { ...dnsMetrics, ...processMetrics };
  const native = { answers: () => Float64Array.from(answers), drops: () => Float64Array.from(drops) };
  const report = { ...counters.read(native), decisionSeconds: 0.25, unreadable: 1 };
  const metrics = new ScrapedMetrics<keyof typeof dnsMetrics>(catalogue, () => dnsSamples(report));
  const { body } = await metrics.render();
  return body.split('\n').filter((line) => /^(istio|hadal)_dns_/.test(line));
}

it('queries are told by type, protocol and who asked; buckets hold those below them', async () => {
  const counters = new DnsCounters();
  counters.numberOf('A', 'tcp', undefined);
  const number = counters.numberOf('AAAA', 'udp', client);
  expect(counters.numberOf('AAAA', 'udp', client)).toBe(number);
  const buckets = [1, 0, 0, 2, 0, 0, 1];
  expect(buckets).toHaveLength(upstreamSeconds.length + 1);
  const answers = [number, 5, 5, 1, 7.1004, ...buckets, 99, ...buckets.map(() => 0), 0, 0, 0, 0];
  const bucket = (le: string, count: number) =>
    `istio_dns_upstream_request_duration_seconds_bucket{le="${le}",${printed}} ${count}`;
  expect(await render(counters, answers)).toEqual([
    `istio_dns_requests_total{${printed}} 5`,
    `istio_dns_upstream_requests_total{${printed}} 5`,
    `istio_dns_upstream_failures_total{${printed}} 1`,
    bucket('0.0005', 1),
    bucket('0.001', 1),
    bucket('0.01', 1),
    bucket('0.1', 3),
    bucket('1', 3),
    bucket('5', 3),
    bucket('+Inf', 4),
    `istio_dns_upstream_request_duration_seconds_sum{${printed}} 7.1004`,
    `istio_dns_upstream_request_duration_seconds_count{${printed}} 4`,
    'hadal_dns_decision_seconds_total 0.25',
    'hadal_dns_unread_configurations 1',
  ]);
});

it('what was dropped is told by why and who asked', async () => {
  const counters = new DnsCounters();
  const [unknown, front] = [counters.numberOfAsker(undefined), counters.numberOfAsker(client)];
  const lines = await render(counters, [], [unknown, 0, 0, 2, front, 30, 0, 1]);
  expect(lines.filter((line) => line.includes('dropped'))).toEqual([
    'hadal_dns_queries_dropped_total{reason="too_late",source_canonical_service="unknown",source_canonical_revision="unknown"} 2',
    'hadal_dns_queries_dropped_total{reason="over_share",source_canonical_service="front",source_canonical_revision="v1"} 30',
    'hadal_dns_queries_dropped_total{reason="too_late",source_canonical_service="front",source_canonical_revision="v1"} 1',
  ]);
});

it('a pod cannot make up types that fill the metrics', () => {
  const names = new Set(Array.from({ length: 65_536 }, (_, type) => typeName(type)));
  expect(names.size).toBeLessThan(20);
});
