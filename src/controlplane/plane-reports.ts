/** What a running control plane shows of itself: status, dump, metrics. It only reads. */
import { ConfigDump } from '../runtime/config-dump.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import type { ObjectId, SourceStatus, UnreadKind } from '../source/object-source.ts';
import { withPlaceholders } from '../source/placeholder.ts';
import { enrolmentReport, enrolmentWish, isPublished } from '../source/translate/enrolment.ts';
import { ControlPlaneMetrics } from '../telemetry/control-plane-metrics.ts';
import type { AgentConnection } from '../xds/server-status.ts';
import type { PlaneParts } from './plane-parts.ts';
import type { StatusWriting } from './plane-status-writing.ts';

/** What `GET /status` answers. Part of the interface: add, never rename. */
export interface ControlPlaneStatus {
  readonly role: 'control-plane';
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly ready: boolean;
  /** What readiness waits for. */
  readonly pending: readonly string[];
  readonly source: SourceSummary;
  readonly objects: number;
  /** Objects whose newest version is not in force. */
  readonly rejected: number;
  readonly conflicts: number;
  readonly mesh: Readonly<Record<'workloads' | 'services' | 'policies', number>>;
  readonly agents: readonly ConnectedAgent[];
  /** Which replica writes the status of objects in Kubernetes; absent where there is none to write. */
  readonly writer?: { readonly isThis: boolean; readonly name?: string };
}

export interface SourceSummary {
  readonly name: string;
  readonly isSynced: boolean;
  readonly error?: string;
  /** Kinds that say who may connect, and of which nothing is known. */
  readonly unread?: readonly UnreadKind[];
  /** What is amiss though everything is read. */
  readonly problems?: readonly string[];
}

export interface ConnectedAgent {
  readonly node: string;
  readonly address: string;
  /** ISO 8601. */
  readonly connectedAt: string;
  /** Resources that it has still to be told of. */
  readonly pending: number;
  /** Resources that it refuses, each with why. */
  readonly refused: readonly string[];
}

export function planeStatus({
  readiness,
  version,
  source,
  translation,
  discovery,
  writing,
}: PlaneParts): ControlPlaneStatus {
  const { rejected } = source.status;
  return {
    role: 'control-plane',
    version,
    pid: process.pid,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    ready: readiness.ready,
    pending: readiness.pending,
    source: sourceSummary(source.status),
    objects: translation.objects.size,
    rejected: rejected.length + translation.problems.length,
    conflicts: translation.objects.shared.size + translation.conflicts.length,
    mesh: translation.resourceCounts,
    agents: discovery.agents().map(connectedAgent),
    ...(writing === undefined ? {} : { writer: writerOf(writing) }),
  };
}

function sourceSummary({ name, isSynced, error, unread, problems }: SourceStatus): SourceSummary {
  return {
    name,
    isSynced,
    ...(error === undefined ? {} : { error }),
    ...(unread === undefined || unread.length === 0 ? {} : { unread }),
    ...(problems === undefined || problems.length === 0 ? {} : { problems }),
  };
}

function writerOf({ isLeader, leader }: StatusWriting): ControlPlaneStatus['writer'] {
  return { isThis: isLeader, ...(leader === undefined ? {} : { name: leader }) };
}

function connectedAgent({ node, address, connectedAt, subscriptions }: AgentConnection): ConnectedAgent {
  return {
    node,
    address,
    connectedAt: new Date(connectedAt).toISOString(),
    pending: subscriptions.reduce((sum, { pending }) => sum + pending, 0),
    refused: subscriptions.flatMap(({ refused }) => refused.map(({ name, reason }) => `${name}: ${reason}`)),
  };
}

/** `/config_dump`, in the names that the agent's has, with what only a control plane knows beside them. */
export function planeDump(parts: PlaneParts): ConfigDump {
  const { publisher, source, translation, version, discovery, store } = parts;
  return new ConfigDump()
    .section('workloads', () => dumpWorkloads(publisher.snapshot))
    .section('services', () => dumpServices(publisher.snapshot))
    .section('policies', () => withPlaceholders(dumpPolicies(publisher.snapshot), placeholdersOf(parts)))
    .section('source', () => source.status)
    .section('kinds', () =>
      'kinds' in source ? Object.fromEntries(source.kinds as Iterable<[string, unknown]>) : {},
    )
    .section('rejected', () => ({
      source: source.status.rejected,
      translation: translation.problems,
      wire: store.problems,
    }))
    .section('warnings', () => translation.warnings)
    .section('conflicts', () => [
      ...[...translation.objects.shared].map(([name, objects]) => ({
        kind: 'objects',
        name,
        objects: objects.map(({ id }) => id),
      })),
      ...translation.conflicts,
    ])
    .section('agents', () => discovery.agents())
    .section('enrolment', () => enrolment(parts))
    .section('authority', () => parts.authority.status())
    .section('config', () => dumpConfig(parts))
    .section('version', () => ({ version, node: process.versions.node }));
}

function placeholdersOf({ source }: PlaneParts): ReadonlySet<ObjectId> {
  const { rejected } = source.status;
  return new Set(rejected.flatMap(({ id, inForce }) => (inForce === 'placeholder' ? (id ?? []) : [])));
}

/** Every pod: whether it is to be in the mesh, why or why not, whether its agent holds it, and a sentence about that. */
function enrolment({ translation }: PlaneParts): unknown[] {
  const view = translation.objects.view(() => {});
  return translation.objects.all('Pod').map((pod) => {
    const within = view.get('Namespace', '', pod.metadata.namespace);
    const {
      namespace,
      pod: name,
      node,
      state,
      reason,
      detail,
    } = enrolmentReport(pod, within, view.names.enrolment);
    const { wanted } = enrolmentWish(pod, within, view.names.enrolment);
    return { name, namespace, node, wanted, reason, enrolled: isPublished(pod), state, detail };
  });
}

function dumpConfig({ config, sources }: PlaneParts): unknown {
  return Object.fromEntries(
    (Object.keys(sources) as (keyof typeof sources)[]).map((name) => {
      const value: unknown = config[name];
      const shown = typeof value === 'object' && value !== null && 'text' in value ? value.text : value;
      return [name, { value: shown, source: sources[name] }];
    }),
  );
}

export function planeMetrics(parts: PlaneParts): ControlPlaneMetrics {
  const { version, source, translation, publisher, issuer, discovery, gate, admission, callers } = parts;
  return new ControlPlaneMetrics({
    version,
    isSynced: () => source.status.isSynced && source.status.error === undefined,
    objects: () => Object.fromEntries(translation.objects.counts),
    rejected: () => ({
      source: source.status.rejected.length,
      translation: translation.problems.length,
    }),
    nameConflicts: () => translation.objects.shared.size + translation.conflicts.length,
    translations: () => translation.made,
    resources: () => ({ ...translation.resourceCounts }),
    pushes: () => publisher.pushes,
    agents: () => {
      const agents = discovery.agents();
      const { refused, sentBytes } = discovery.counters;
      const nackedNow = agents.flatMap(({ subscriptions }) => subscriptions.flatMap((each) => each.refused));
      return { connected: agents.length, bytesSent: sentBytes, nacks: refused, nackedNow: nackedNow.length };
    },
    port: () => {
      const { open, refused } = gate.counts();
      const { refusedCalls, refusedNames, ended } = discovery.counters;
      return {
        refusedCalls,
        refusedNames,
        endedStreams: ended,
        connections: open,
        refusedConnections: refused,
        unauthenticated: admission.counts.open,
        questions: callers?.questions ?? { running: 0, waiting: 0 },
      };
    },
    certificates: () => {
      const { issued, refused } = issuer.counts();
      return { signed: issued, refused };
    },
  });
}
