import { expect, it } from 'vitest';
import { DnsCounters, dnsLabels } from '../../../src/dns/dns-counters.ts';
import { typeName } from '../../../src/dns/query.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { dnsMetrics, dnsSamples } from '../../../src/telemetry/dns-metrics.ts';
import { processMetrics } from '../../../src/telemetry/metric-catalogue.ts';
import { ScrapedMetrics } from '../../../src/telemetry/scraped-metrics.ts';

const client = createWorkload({ uid: 'u', canonicalName: 'front', canonicalRevision: 'v1' });
const labels = dnsLabels('AAAA', 'udp', client);
const printed =
  'request_query_type="AAAA",request_protocol="udp",source_canonical_service="front",source_canonical_revision="v1"';

async function render(counters: DnsCounters): Promise<string[]> {
  const catalogue = { ...dnsMetrics, ...processMetrics };
  const metrics = new ScrapedMetrics<keyof typeof dnsMetrics>(catalogue, () => dnsSamples(counters.read()));
  const { body } = await metrics.render();
  return body.split('\n').filter((line) => line.startsWith('istio_dns_'));
}

it('queries are told by type, protocol and who asked; buckets hold those below them', async () => {
  const counters = new DnsCounters();
  for (let request = 0; request < 5; request++) counters.request(labels);
  for (const seconds of [0.0004, 0.05, 0.05, 7]) counters.upstreamAnswered(labels, seconds);
  counters.upstreamFailed(labels);
  const bucket = (le: string, count: number) =>
    `istio_dns_upstream_request_duration_seconds_bucket{le="${le}",${printed}} ${count}`;
  expect(await render(counters)).toEqual([
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
    `istio_dns_upstream_request_duration_seconds_sum{${printed}} ${0.0004 + 0.05 + 0.05 + 7}`,
    `istio_dns_upstream_request_duration_seconds_count{${printed}} 4`,
  ]);
});

it('a pod cannot make up types that fill the metrics', () => {
  const names = new Set(Array.from({ length: 65_536 }, (_, type) => typeName(type)));
  expect(names.size).toBeLessThan(20);
});
