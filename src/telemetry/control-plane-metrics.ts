/** Every metric of a control plane, and where each is read from. */
import { counter, gauge, type MetricDescription, processMetrics } from './metric-catalogue.ts';
import { byLabel, type Exposition, one, type Sample, ScrapedMetrics } from './scraped-metrics.ts';

export const controlPlaneCatalogue = {
  hadal_build_info: gauge('1, with the versions of what runs.', 'version', 'node'),
  hadal_source_synced: gauge('1 once everything was read from the source; 0 while it cannot be read.'),
  hadal_objects: gauge('Objects that the source has told of, by kind.', 'kind'),
  hadal_objects_rejected: gauge(
    'Objects whose newest version is not in force, by where it was refused: in the source or in its translation.',
    'where',
  ),
  hadal_name_conflicts: gauge('Names that several objects claim; the oldest has it.'),
  hadal_translations_total: counter('Objects translated, again included.'),
  hadal_mesh_resources: gauge('What the mesh consists of.', 'kind'),
  hadal_pushes_total: counter('Changes of the mesh handed to the agents.'),
  hadal_push_seconds_total: counter(
    'Time from the first object of a change until all connected agents were being sent it, over all changes.',
  ),
  hadal_push_last_seconds: gauge('The same time for the last change.'),
  hadal_agents_connected: gauge('Agents that hold a stream for configuration.'),
  hadal_sent_bytes_total: counter('Bytes of the responses sent to agents, removals included.'),
  hadal_nacks_total: counter('Resources that agents refused.'),
  hadal_nacked_resources: gauge('Resources that some connected agent refuses now.'),
  hadal_discovery_refused_total: counter('Calls for the mesh that got no stream.', 'reason'),
  hadal_discovery_ended_total: counter(
    'Streams for the mesh that were ended from here; `renewal`: it was old, its agent comes again at once.',
    'reason',
  ),
  hadal_names_refused_total: counter('Names that agents asked for beyond what one stream may.'),
  hadal_connections: gauge(
    'Connections to the port for agents: of agents, of guests (pods that ask for their own certificate), of strangers who have shown no token yet.',
    'standing',
  ),
  hadal_connections_refused_total: counter(
    'Connections to the port for agents that were refused or ended: too many of an address, too fast, no room, silent.',
    'reason',
  ),
  hadal_calls_unauthenticated: gauge('Calls that wait until it is known who makes them.'),
  hadal_token_questions: gauge(
    'Questions to the API server about tokens: under way, and waiting for their turn.',
    'state',
  ),
  hadal_certificates_signed_total: counter('Certificates signed for workloads.'),
  hadal_certificates_refused_total: counter('Requests for certificates that were refused.', 'reason'),
  ...processMetrics,
} as const satisfies Record<string, MetricDescription>;

export type ControlPlaneMetricName = keyof typeof controlPlaneCatalogue;

/** Where the numbers come from. */
export interface ControlPlaneSources {
  readonly version: string;
  readonly isSynced: () => boolean;
  readonly objects: () => Readonly<Record<string, number>>;
  readonly rejected: () => Readonly<Record<'source' | 'translation', number>>;
  readonly nameConflicts: () => number;
  readonly translations: () => number;
  readonly resources: () => Readonly<Record<string, number>>;
  readonly pushes: () => { readonly count: number; readonly totalMs: number; readonly lastMs: number };
  readonly agents: () => {
    readonly connected: number;
    readonly bytesSent: number;
    readonly nacks: number;
    readonly nackedNow: number;
  };
  /** Of the port for agents. */
  readonly port: () => {
    readonly refusedCalls: Readonly<Record<string, number>>;
    readonly endedStreams: ReadonlyMap<string, number>;
    readonly refusedNames: number;
    readonly connections: Readonly<Record<string, number>>;
    readonly refusedConnections: Readonly<Record<string, number>>;
    readonly unauthenticated: number;
    readonly questions: Readonly<Record<'running' | 'waiting', number>>;
  };
  readonly certificates: () => {
    readonly signed: number;
    readonly refused: Readonly<Record<string, number>>;
  };
}

export class ControlPlaneMetrics {
  readonly #metrics: ScrapedMetrics<ControlPlaneMetricName>;

  constructor(sources: ControlPlaneSources) {
    this.#metrics = new ScrapedMetrics(controlPlaneCatalogue, () => samples(sources));
  }

  render(): Promise<Exposition> {
    return this.#metrics.render();
  }
}

function* samples(sources: ControlPlaneSources): Generator<[ControlPlaneMetricName, Sample[]]> {
  const build = { version: sources.version, node: process.versions.node };
  yield ['hadal_build_info', [{ labels: build, value: 1 }]];
  yield ['hadal_source_synced', one(sources.isSynced() ? 1 : 0)];
  yield ['hadal_objects', byLabel('kind', sources.objects())];
  yield ['hadal_objects_rejected', byLabel('where', sources.rejected())];
  yield ['hadal_name_conflicts', one(sources.nameConflicts())];
  yield ['hadal_translations_total', one(sources.translations())];
  yield ['hadal_mesh_resources', byLabel('kind', sources.resources())];
  const pushes = sources.pushes();
  yield ['hadal_pushes_total', one(pushes.count)];
  yield ['hadal_push_seconds_total', one(pushes.totalMs / 1000)];
  yield ['hadal_push_last_seconds', one(pushes.lastMs / 1000)];
  const agents = sources.agents();
  yield ['hadal_agents_connected', one(agents.connected)];
  yield ['hadal_sent_bytes_total', one(agents.bytesSent)];
  yield ['hadal_nacks_total', one(agents.nacks)];
  yield ['hadal_nacked_resources', one(agents.nackedNow)];
  const port = sources.port();
  yield ['hadal_discovery_refused_total', byLabel('reason', port.refusedCalls)];
  yield ['hadal_discovery_ended_total', byLabel('reason', Object.fromEntries(port.endedStreams))];
  yield ['hadal_names_refused_total', one(port.refusedNames)];
  yield ['hadal_connections', byLabel('standing', port.connections)];
  yield ['hadal_connections_refused_total', byLabel('reason', port.refusedConnections)];
  yield ['hadal_calls_unauthenticated', one(port.unauthenticated)];
  yield ['hadal_token_questions', byLabel('state', port.questions)];
  const certificates = sources.certificates();
  yield ['hadal_certificates_signed_total', one(certificates.signed)];
  yield ['hadal_certificates_refused_total', byLabel('reason', certificates.refused)];
}
