/** The metrics of an agent. Everything is read once per scrape, from counters; nothing is kept up to date in between. */
import type { DnsReport } from '../dns/dns-counters.ts';
import { reasonDetails } from '../model/reasons.gen.ts';
import type { EdgeCounters, TunnelTotals } from '../native/types.ts';
import { dnsMetrics, dnsSamples } from './dns-metrics.ts';
import type { EdgeRegistry } from './edge-registry.ts';
import type { FlowLog } from './flow-log.ts';
import { type MetricName, metricCatalogue } from './metric-catalogue.ts';
import { byLabel, type Exposition, one, type Sample, ScrapedMetrics } from './scraped-metrics.ts';
import { type LabelledTraffic, type TrafficRow, TrafficTable } from './traffic-table.ts';

/** Where the numbers come from. Those left out have no samples. */
export interface MetricSources {
  readonly edges: EdgeRegistry;
  readonly build: { readonly version: string; readonly openssl: string; readonly nghttp2: string };
  /** Counters per edge: of the tunnel, and of the kernel where it counts per edge. */
  readonly edgeCounters?: () => readonly EdgeCounters[];
  /** Traffic counted under no edge. */
  readonly labelledTraffic?: () => readonly LabelledTraffic[];
  readonly tunnelTotals?: () => TunnelTotals;
  readonly flows?: FlowLog;
  /** Reason number to count. */
  readonly kernelDecisions?: () => ReadonlyMap<number, number>;
  readonly kernelFaults?: () => Readonly<Record<string, number>>;
  readonly captureRestored?: () => Readonly<Record<'rule' | 'route' | 'filter', number>>;
  /** Reason number to count. */
  readonly connectionsDestroyed?: () => ReadonlyMap<number, number>;
  readonly rows?: () => Readonly<Record<string, number>>;
  /** Pods by state; `enrolled` are captured, `pending` are not yet. */
  readonly pods?: () => Readonly<Record<string, number>>;
  readonly certificates?: () => Readonly<Record<string, number>>;
  /** Milliseconds since 1970; undefined without certificates. */
  readonly firstExpiry?: () => number | undefined;
  readonly meshResources?: () => Readonly<Record<string, number>>;
  readonly stateRejected?: () => number;
  readonly dns?: () => DnsReport;
  /** Undefined where a file tells the mesh state. */
  readonly controlPlane?: () => ControlPlaneCounters | undefined;
}

export interface ControlPlaneCounters {
  readonly isConnected: boolean;
  /** Resources whose newest version is not in force. */
  readonly rejected: number;
  readonly terminations: ReadonlyMap<string, number>;
  /** By type URL. */
  readonly messages: ReadonlyMap<string, number>;
  readonly messageBytes: ReadonlyMap<string, number>;
}

type AgentMetricName = MetricName | keyof typeof dnsMetrics;

/** Istio's first, as in the documentation. */
export const agentCatalogue = { ...dnsMetrics, ...metricCatalogue };

const noFlags = Object.freeze({ response_flags: '-' });

export class AgentMetrics {
  readonly #sources: MetricSources;
  readonly #metrics: ScrapedMetrics<AgentMetricName>;
  readonly #traffic: TrafficTable;

  constructor(sources: MetricSources) {
    this.#sources = sources;
    this.#traffic = new TrafficTable(sources.edges);
    this.#metrics = new ScrapedMetrics<AgentMetricName>(agentCatalogue, () => [
      ...this.#trafficSamples(),
      ...this.#agentSamples(),
      ...this.#tunnelSamples(),
      ...dnsSamples(this.#sources.dns?.()),
    ]);
  }

  render(): Promise<Exposition> {
    return this.#metrics.render();
  }

  *#trafficSamples(): Generator<[MetricName, Sample[]]> {
    const { edgeCounters, labelledTraffic } = this.#sources;
    const rows = this.#traffic.read(edgeCounters?.() ?? [], labelledTraffic?.() ?? []);
    const used = rows.filter(({ opened, closed }) => opened > 0 || closed > 0);
    const column = (value: (row: TrafficRow) => number): Sample[] =>
      used.map((row) => ({ labels: noFlags, sharedLabels: row.labels, value: value(row) }));
    yield ['istio_tcp_connections_opened_total', column(({ opened }) => opened)];
    yield ['istio_tcp_connections_closed_total', column(({ closed }) => closed)];
    // Istio counts from the server's view: what the source sent was received.
    yield ['istio_tcp_received_bytes_total', column(({ bytesSent }) => bytesSent)];
    yield ['istio_tcp_sent_bytes_total', column(({ bytesReceived }) => bytesReceived)];
    yield [
      'istio_tcp_connections_failed_total',
      rows.flatMap((row) =>
        [...row.failures.values()].map(({ labels, count }) => ({
          labels,
          sharedLabels: row.labels,
          value: count,
        })),
      ),
    ];
  }

  *#agentSamples(): Generator<[MetricName, Sample[]]> {
    const { build, edges, flows, firstExpiry, pods, stateRejected } = this.#sources;
    yield ['istio_build', [{ labels: { component: 'hadal-agent', tag: build.version }, value: 1 }]];
    yield ['hadal_build_info', [{ labels: { ...build, node: process.versions.node }, value: 1 }]];
    yield ['hadal_edges', one(edges.size)];
    yield ['hadal_edges_overflowed_total', one(edges.overflowed)];
    const podStates = pods?.();
    yield ['hadal_pods', byLabel('state', podStates)];
    yield ['workload_manager_active_proxy_count', one(podStates?.enrolled)];
    yield ['workload_manager_pending_proxy_count', one(podStates?.pending)];
    yield ['hadal_rows', byLabel('table', this.#sources.rows?.())];
    yield ['hadal_kernel_decisions_total', byReason(this.#sources.kernelDecisions?.())];
    yield ['hadal_kernel_faults_total', byLabel('fault', this.#sources.kernelFaults?.(), snakeCase)];
    yield ['hadal_capture_restored_total', byLabel('what', this.#sources.captureRestored?.())];
    yield ['hadal_connections_destroyed_total', byReason(this.#sources.connectionsDestroyed?.())];
    yield ['hadal_flow_records_total', one(flows?.recorded)];
    yield ['hadal_flow_records_lost_total', one(flows?.lost)];
    yield ['hadal_certificates', byLabel('state', this.#sources.certificates?.())];
    const expiry = firstExpiry?.();
    yield [
      'hadal_certificate_expiry_timestamp_seconds',
      one(expiry === undefined ? undefined : expiry / 1000),
    ];
    yield ['hadal_mesh_resources', byLabel('kind', this.#sources.meshResources?.())];
    yield ['hadal_state_rejected_total', one(stateRejected?.())];
    yield* controlPlaneSamples(this.#sources.controlPlane?.());
  }

  *#tunnelSamples(): Generator<[MetricName, Sample[]]> {
    const totals = this.#sources.tunnelTotals?.();
    if (totals === undefined) return;
    yield ['hadal_questions_total', one(totals.questions)];
    yield ['hadal_questions_timed_out_total', one(totals.questionsTimedOut)];
    yield ['hadal_row_hits_total', one(totals.rowHits)];
    yield ['hadal_connections_open', one(totals.connectionsOpen)];
    yield ['hadal_connections_ended_early_total', byReason(pairs(totals.earlyEnds))];
    yield ['hadal_connections_parked', one(totals.parked)];
    yield ['hadal_tunnels_opened_total', one(totals.tunnelsOpened)];
    yield ['hadal_tunnels_open', one(totals.tunnelsOpen)];
    yield ['hadal_tunnel_streams_open', one(totals.streamsOpen)];
    const cpu = totals.workerCpuMicroseconds.map((us, worker) => ({ labels: { worker }, value: us / 1e6 }));
    yield ['hadal_worker_cpu_seconds_total', cpu];
  }
}

function* controlPlaneSamples(counters: ControlPlaneCounters | undefined): Generator<[MetricName, Sample[]]> {
  if (counters === undefined) return;
  const { isConnected, rejected, terminations, messages, messageBytes } = counters;
  const of = (label: string, counts: ReadonlyMap<string, number>) =>
    byLabel(label, Object.fromEntries(counts));
  yield ['istio_xds_connection_terminations_total', of('reason', terminations)];
  yield ['istio_xds_message_total', of('url', messages)];
  yield ['istio_xds_message_bytes_total', of('url', messageBytes)];
  yield ['hadal_control_plane_connected', one(Number(isConnected))];
  yield ['hadal_control_plane_resources_rejected', one(rejected)];
}

/** `flowsLost` is `flows_lost`: label values are written as the reasons are. */
function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function byReason(counts: Iterable<readonly [number, number]> | undefined): Sample[] {
  return [...(counts ?? [])].map(([reason, value]) => ({
    labels: { reason: reasonDetails.get(reason)?.metric ?? `reason_${reason}` },
    value,
  }));
}

function* pairs(flat: Float64Array): Generator<[number, number]> {
  for (let at = 0; at + 1 < flat.length; at += 2) yield [flat[at] ?? 0, flat[at + 1] ?? 0];
}
