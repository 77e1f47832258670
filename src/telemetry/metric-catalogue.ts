/**
 * Every metric of an agent: its name, kind, help and labels, in the order in which they are printed. `istio_*` and
 * `workload_manager_*` are Istio's, with Istio's meanings; `hadal_*` are ours.
 */
import { trafficLabelNames } from '../routing/labels.ts';

export interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

/** In front of the labels of an edge. */
export const trafficLabels = [...trafficLabelNames, 'request_protocol', 'response_flags'] as const;
export const failureLabels = [...trafficLabels, 'reason'] as const;

export function counter(help: string, ...labels: readonly string[]): MetricDescription {
  return { type: 'counter', help, labels };
}

export function gauge(help: string, ...labels: readonly string[]): MetricDescription {
  return { type: 'gauge', help, labels };
}

/** Of every program of ours. */
export const processMetrics = {
  process_cpu_seconds_total: counter('CPU time of the process.'),
  process_resident_memory_bytes: gauge('Memory in use.'),
  process_start_time_seconds: gauge('When the process started.'),
  process_open_fds: gauge('File descriptors in use.'),
  process_max_fds: gauge('File descriptors that may be used.'),
  nodejs_heap_size_used_bytes: gauge('JavaScript heap in use.'),
  nodejs_eventloop_utilization: gauge(
    'Share of time since the last scrape in which the event loop was busy.',
  ),
} as const satisfies Record<string, MetricDescription>;

export const metricCatalogue = {
  istio_tcp_connections_opened_total: counter('Connections established.', ...trafficLabels),
  istio_tcp_connections_closed_total: counter('Established connections that ended.', ...trafficLabels),
  istio_tcp_received_bytes_total: counter(
    'Bytes of requests: from the source towards the destination.',
    ...trafficLabels,
  ),
  istio_tcp_sent_bytes_total: counter(
    'Bytes of responses: from the destination towards the source.',
    ...trafficLabels,
  ),
  istio_tcp_connections_failed_total: counter(
    'Connections refused or never established, by reason.',
    ...failureLabels,
  ),
  istio_xds_connection_terminations_total: counter(
    'Streams from the control plane that ended, by why.',
    'reason',
  ),
  istio_xds_message_total: counter('Messages from the control plane, by type.', 'url'),
  istio_xds_message_bytes_total: counter('Their bytes.', 'url'),
  istio_build: gauge('1, with what runs.', 'component', 'tag'),
  workload_manager_active_proxy_count: gauge('Pods that are captured.'),
  workload_manager_pending_proxy_count: gauge('Pods whose enrolment is not complete.'),
  hadal_build_info: gauge('1, with the versions of what runs.', 'version', 'node', 'openssl', 'nghttp2'),
  hadal_pods: gauge('Pods by the state of their enrolment.', 'state'),
  hadal_questions_total: counter('Connections that had to wait for a decision of TypeScript.'),
  hadal_questions_timed_out_total: counter('Connections refused since no decision came in time.'),
  hadal_row_hits_total: counter('Connections for which a decision was there.'),
  hadal_rows: gauge('Decisions written down, by table.', 'table'),
  hadal_connections_open: gauge('Connections carried now.'),
  hadal_connections_ended_early_total: counter(
    'Connections that were established and did not end by themselves, by reason: resets, lost tunnels, removed pods.',
    'reason',
  ),
  hadal_connections_parked: gauge('Connections that wait for a decision now.'),
  hadal_tunnels_opened_total: counter('Tunnels opened to other agents.'),
  hadal_tunnels_open: gauge('Tunnels open now.'),
  hadal_tunnel_streams_open: gauge('Connections inside tunnels now.'),
  hadal_worker_cpu_seconds_total: counter('CPU time of each worker thread.', 'worker'),
  hadal_kernel_decisions_total: counter(
    'What the capture in the kernel did with connections, by reason.',
    'reason',
  ),
  hadal_kernel_faults_total: counter('What went wrong in the capture itself.', 'fault'),
  hadal_capture_restored_total: counter(
    'Rules, routes and filters of the capture that were missing and put back.',
    'what',
  ),
  hadal_connections_destroyed_total: counter(
    'Connections that the agent ended from outside, by reason.',
    'reason',
  ),
  hadal_flow_records_total: counter('Connections recorded after their end.'),
  hadal_flow_records_lost_total: counter('Records of connections that could not be kept.'),
  hadal_edges: gauge('Sets of labels that traffic is counted under.'),
  hadal_edges_overflowed_total: counter(
    'Edges for which there was no room; their traffic has unknown labels.',
  ),
  hadal_certificates: gauge('Certificates by state.', 'state'),
  hadal_certificate_expiry_timestamp_seconds: gauge('When the certificate that expires first does.'),
  hadal_mesh_resources: gauge('What the mesh state holds.', 'kind'),
  hadal_state_rejected_total: counter('Mesh states that were refused as a whole or in part.'),
  hadal_control_plane_connected: gauge('1 while there is a stream from the control plane.'),
  hadal_control_plane_resources_rejected: gauge('Resources whose newest version is not in force.'),
  ...processMetrics,
} as const satisfies Record<string, MetricDescription>;

export type MetricName = keyof typeof metricCatalogue;
