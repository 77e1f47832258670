import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { reasonDetails, reasons } from '../../../src/model/reasons.gen.ts';
import type { EdgeCounters } from '../../../src/native/types.ts';
import { AgentMetrics, type MetricSources } from '../../../src/telemetry/agent-metrics.ts';
import { EdgeRegistry } from '../../../src/telemetry/edge-registry.ts';
import { FlowLog } from '../../../src/telemetry/flow-log.ts';
import { metricCatalogue } from '../../../src/telemetry/metric-catalogue.ts';
import { responseFlags } from '../../../src/telemetry/response-flags.ts';
import { labels } from './labels.ts';

const front = labels({
  source_workload: 'front',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
  destination_service: 'catalog.shop.svc.cluster.local',
  connection_security_policy: 'mutual_tls',
});
const odd = labels({ source_workload: 'quo"te\\back\nline' });
const build = { version: '0.1.0', openssl: '3.5.0', nghttp2: '1.60.0' };

function counters(rows: number[][], failures: number[] = []): EdgeCounters {
  return {
    edges: Uint32Array.from(rows.map(([edge = 0]) => edge)),
    values: Float64Array.from(rows.flatMap(([, ...values]) => values)),
    failures: Float64Array.from(failures),
  };
}

function setup(sources: Partial<MetricSources> = {}) {
  const edges = new EdgeRegistry({ maxEdges: 2 });
  return { edges, metrics: new AgentMetrics({ edges, build, ...sources }) };
}

async function lines(metrics: AgentMetrics, name: string): Promise<string[]> {
  const { body } = await metrics.render();
  return body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

it('shows the counters of an edge under its labels, received being what the source sent', async () => {
  const all = [counters([[1, 5, 3, 0, 100, 10_000_007]])];
  const { edges, metrics } = setup({ edgeCounters: () => all });
  edges.allot(front);
  const shown = (await lines(metrics, 'istio_tcp_received_bytes_total'))[0];
  expect(shown).toMatch(/ 100$/);
  expect(shown).toContain('reporter="source"');
  expect(shown).toContain('source_principal="spiffe://cluster.local/ns/shop/sa/front"');
  expect(shown).toContain('request_protocol="tcp"');
  expect(shown).toContain('response_flags="-"');
  expect(await lines(metrics, 'istio_tcp_sent_bytes_total')).toEqual([expect.stringMatching(/ 10000007$/)]);
  expect(await lines(metrics, 'istio_tcp_connections_opened_total')).toEqual([expect.stringMatching(/ 5$/)]);
  expect(await lines(metrics, 'istio_tcp_connections_closed_total')).toEqual([expect.stringMatching(/ 3$/)]);
});

it('counts failures by reason, with the flags that Istio has for it', async () => {
  const failures = [1, reasons.POLICY_DENIED, 4, 1, reasons.CONNECT_TIMEOUT, 2, 1, 255, 1];
  const { edges, metrics } = setup({ edgeCounters: () => [counters([], failures)] });
  edges.allot(front);
  const shown = (await lines(metrics, 'istio_tcp_connections_failed_total')).map(
    (line) => /response_flags="([^"]*)",reason="([^"]*)".* (\d+)$/.exec(line)?.slice(1) ?? line,
  );
  expect(shown.map((each) => (Array.isArray(each) ? each : [each]))).toHaveLength(3);
  const text = (await metrics.render()).body;
  expect(text).toMatch(/istio_tcp_connections_failed_total\{[^}]*response_flags="DENY"[^}]*\} 4/);
  expect(text).toMatch(/istio_tcp_connections_failed_total\{[^}]*reason="connect_timeout"[^}]*\} 2/);
  expect(text).toMatch(/istio_tcp_connections_failed_total\{[^}]*response_flags="NETWORK_POLICY"/);
  expect(text).toMatch(/reason="reason_255"/);
  // A series of successful connections appears with the first of them only.
  expect(await lines(metrics, 'istio_tcp_connections_opened_total')).toEqual([]);
});

it('adds up what tunnel and kernel counted under the same labels, and never prints a series twice', async () => {
  const { edges, metrics } = setup({
    edgeCounters: () => [
      counters([
        [1, 1, 0, 0, 10, 20],
        [7, 1, 0, 0, 1, 1],
        [8, 1, 0, 0, 1, 1],
      ]),
      counters([[1, 2, 2, 0, 30, 40]]),
    ],
    labelledTraffic: () => [
      { labels: { ...front }, opened: 4, closed: 4, failed: 0, bytesSent: 50, bytesReceived: 60 },
      {
        labels: labels({ source_workload: 'new' }),
        opened: 1,
        closed: 0,
        failed: 2,
        bytesSent: 0,
        bytesReceived: 0,
      },
    ],
  });
  edges.allot(front);
  const opened = await lines(metrics, 'istio_tcp_connections_opened_total');
  expect(opened.map((line) => Number(line.split(' ').at(-1))).sort()).toEqual([1, 2, 7]);
  const { body } = await metrics.render();
  const series = body
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/ \S+$/, ''));
  expect(new Set(series).size).toBe(series.length);
});

it('every metric has its help, its type and its labels; names and values are escaped', async () => {
  const { edges, metrics } = setup({
    edgeCounters: () => [counters([[1, 1, 1, 0, 1, 1]])],
    tunnelTotals: () => ({
      questions: 1,
      questionsTimedOut: 2,
      earlyEnds: Float64Array.of(reasons.RESET_BY_SOURCE, 3),
      rowHits: 3,
      connectionsOpen: 4,
      tunnelsOpened: 5,
      tunnelsOpen: 6,
      streamsOpen: 7,
      parked: 8,
      workerCpuMicroseconds: [1_500_000, 250_000],
    }),
    flows: new FlowLog({ labels: () => undefined }),
    kernelDecisions: () => new Map([[reasons.KUBELET, 9]]),
    kernelFaults: () => ({ flowsLost: 10 }),
    captureRestored: () => ({ rule: 1, route: 2, filter: 3 }),
    connectionsDestroyed: () => new Map([[reasons.SLIPPED_THROUGH, 11]]),
    rows: () => ({ outbound: 12, inbound: 13 }),
    pods: () => ({ enrolled: 14, pending: 15 }),
    certificates: () => ({ valid: 16 }),
    firstExpiry: () => 1_900_000_000_000,
    meshResources: () => ({ workloads: 17 }),
    stateRejected: () => 18,
    controlPlane: () => ({
      isConnected: true,
      rejected: 19,
      terminations: new Map([['Reconnect', 20]]),
      messages: new Map([['type.googleapis.com/istio.workload.Address', 21]]),
      messageBytes: new Map([['type.googleapis.com/istio.workload.Address', 22]]),
    }),
  });
  edges.allot(odd);
  const { body, contentType } = await metrics.render();
  expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(body).toContain('source_workload="quo\\"te\\\\back\\nline"');
  // Values of the process itself differ from run to run.
  const stable = body
    .split('\n')
    .map((line) => line.replace(/^((?:process|nodejs)_\S+) .*/, '$1 N').replace(/node="[^"]*"/, 'node="N"'))
    .join('\n');
  await expect(stable).toMatchFileSnapshot('golden/metrics.txt');
  const known = new Set(Object.keys(metricCatalogue));
  for (const line of body.split('\n').filter((each) => each !== '' && !each.startsWith('#'))) {
    expect(known).toContain(/^[a-z0-9_]+/.exec(line)?.[0]);
  }
});

it('promtool finds nothing to say about the names but what Istio gave them', { timeout: 60_000 }, async ({
  skip,
}) => {
  const found = spawnSync(join(import.meta.dirname, '../../../scripts/promtool'), { encoding: 'utf8' });
  if (found.status !== 0) skip(found.stderr.trim());
  const { edges, metrics } = setup({ edgeCounters: () => [counters([[1, 1, 1, 0, 1, 1]])] });
  edges.allot(front);
  const { body } = await metrics.render();
  const { stdout, stderr, status } = spawnSync(found.stdout.trim(), ['check', 'metrics'], {
    input: body,
    encoding: 'utf8',
  });
  const complaints = `${stdout}${stderr}`
    .split('\n')
    .filter((line) => line !== '' && !/^(istio|workload_manager)_/.test(line));
  expect(complaints).toEqual([]);
  expect([0, 3]).toContain(status);
});

it('every reason has flags, and those that refuse are not silent', () => {
  for (const [number] of reasonDetails) expect(responseFlags(number)).toMatch(/^(-|[A-Z0-9_]+)$/);
  for (const name of ['POLICY_DENIED', 'POLICY_NOT_ALLOWED', 'UNKNOWN_POLICY'] as const)
    expect(responseFlags(reasons[name])).toBe('DENY');
  expect(responseFlags(reasons.TRUST_DOMAIN)).toBe('TLS_FAILURE');
  expect(responseFlags(reasons.IDENTITY_UNAVAILABLE)).toBe('IDENTITY_ERROR');
});

it('a scrape of ten thousand edges takes well under a second', async () => {
  const edges = new EdgeRegistry();
  const rows = Array.from({ length: 10_000 }, (_, n) => [
    edges.allot(labels({ source_workload: `w${n}` })),
    1,
    1,
    0,
    1,
    1,
  ]);
  const all = [counters(rows)];
  const metrics = new AgentMetrics({ edges, build, edgeCounters: () => all });
  await metrics.render();
  const start = process.cpuUsage();
  await metrics.render();
  const { user } = process.cpuUsage(start);
  expect(user / 1000).toBeLessThan(800);
});
