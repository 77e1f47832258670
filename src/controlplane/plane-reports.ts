/** What a running control plane shows of itself: status, dump, metrics. It only reads. */
import { ConfigDump } from '../runtime/config-dump.ts';
import { dumpPolicies, dumpServices, dumpWorkloads } from '../runtime/mesh-dump.ts';
import { enrolmentWish, isPublished } from '../source/translate/enrolment.ts';
import { ControlPlaneMetrics } from '../telemetry/control-plane-metrics.ts';
import type { PlaneParts } from './plane-parts.ts';

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
  readonly source: { readonly name: string; readonly isSynced: boolean; readonly error?: string };
  readonly objects: number;
  /** Objects whose newest version is not in force. */
  readonly rejected: number;
  readonly conflicts: number;
  readonly mesh: Readonly<Record<'workloads' | 'services' | 'policies', number>>;
}

export function planeStatus({ readiness, version, source, translation }: PlaneParts): ControlPlaneStatus {
  const { name, isSynced, rejected, error } = source.status;
  return {
    role: 'control-plane',
    version,
    pid: process.pid,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    ready: readiness.ready,
    pending: readiness.pending,
    source: { name, isSynced, ...(error === undefined ? {} : { error }) },
    objects: translation.objects.size,
    rejected: rejected.length + translation.problems.length,
    conflicts: translation.objects.shared.size + translation.conflicts.length,
    mesh: translation.resourceCounts,
  };
}

/** `/config_dump`, in the names that the agent's has, with what only a control plane knows beside them. */
export function planeDump(parts: PlaneParts): ConfigDump {
  const { publisher, source, translation, version } = parts;
  return new ConfigDump()
    .section('workloads', () => dumpWorkloads(publisher.snapshot))
    .section('services', () => dumpServices(publisher.snapshot))
    .section('policies', () => dumpPolicies(publisher.snapshot))
    .section('source', () => source.status)
    .section('rejected', () => ({ source: source.status.rejected, translation: translation.problems }))
    .section('conflicts', () => [
      ...[...translation.objects.shared].map(([name, objects]) => ({
        kind: 'objects',
        name,
        objects: objects.map(({ id }) => id),
      })),
      ...translation.conflicts,
    ])
    .section('enrolment', () => enrolment(parts))
    .section('authority', () => parts.authority.status())
    .section('config', () => dumpConfig(parts))
    .section('version', () => ({ version, node: process.versions.node }));
}

/** Every pod, whether it is to be in the mesh, why or why not, and whether its agent holds it. */
function enrolment({ translation }: PlaneParts): unknown[] {
  const view = translation.objects.view(() => {});
  return translation.objects.all('Pod').map((pod) => {
    const { name, namespace } = pod.metadata;
    const { wanted, reason } = enrolmentWish(pod, view.get('Namespace', '', namespace));
    return { name, namespace, node: pod.spec.nodeName, wanted, reason, enrolled: isPublished(pod) };
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
  const { version, source, translation, publisher, issuer } = parts;
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
    agents: () => ({ connected: 0, resourcesSent: 0, bytesSent: 0, nacks: 0, nackedNow: 0 }),
    certificates: () => {
      const { issued, refused } = issuer.counts();
      return { signed: issued, refused };
    },
  });
}
