/** What a control plane, or a directory in its place, says of the objects it reads. */
import type { ConnectedAgent, ControlPlaneStatus } from '../controlplane/plane-reports.ts';
import { askAgent } from './admin-client.ts';
import type { AgentAddress } from './agent-address.ts';
import { formatCount, formatDuration } from './quantities.ts';
import { type Column, renderTable } from './table.ts';

export interface ObjectsReport {
  readonly pods: readonly EnrolledPod[];
  /** Sentences, each with the object, the field and the reason. */
  readonly rejected: readonly string[];
}

export interface PlaneReport extends Omit<ControlPlaneStatus, 'rejected'>, ObjectsReport {}

/** An entry of the dump's section `enrolment`. */
export interface EnrolledPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly state: string;
  readonly detail: string;
}

interface Sections {
  readonly enrolment: readonly EnrolledPod[];
  readonly rejected: {
    readonly source: readonly {
      readonly id?: string;
      readonly origin: string;
      readonly field: string;
      readonly reason: string;
    }[];
    readonly translation: readonly { readonly id: string; readonly reason: string }[];
  };
}

export async function readPlaneReport(
  address: AgentAddress,
  status: ControlPlaneStatus,
): Promise<PlaneReport> {
  const { enrolment, rejected } = await askAgent<Sections>(
    address,
    '/config_dump?section=enrolment,rejected',
  );
  const bad = rejected.source.map(
    ({ id, origin, field, reason }) =>
      `${id ?? 'a document'} (${origin}): ${field === '' ? '' : `${field} `}${reason}`,
  );
  const untranslated = rejected.translation.map(({ id, reason }) => `${id}: ${reason}`);
  return { ...status, pods: enrolment, rejected: [...bad, ...untranslated] };
}

export function planeProblems(report: PlaneReport): string[] {
  const { pending, source, rejected, conflicts, agents } = report;
  return [
    ...pending.map((name) => `waits for: ${name}`),
    ...(source.error === undefined ? [] : [`nothing newer is known: ${source.error}`]),
    ...(source.problems ?? []),
    ...rejected.map((text) => `rejected: ${text}`),
    ...(conflicts === 0
      ? []
      : [`${formatCount(conflicts, 'name')} claimed by several objects: /config_dump?section=conflicts`]),
    ...agents.flatMap(({ node, refused }) => refused.map((text) => `the agent of ${node} refuses ${text}`)),
  ];
}

export function describePlane(report: PlaneReport, now: number): string {
  const { version, pid, startedAt, ready, source, objects, mesh, agents } = report;
  const lines = [
    `control plane: ${ready ? 'ready' : 'not ready'} (version ${version}, process ${pid}, up ${formatDuration(now - Date.parse(startedAt))})`,
    `  source        ${source.name}: ${formatCount(objects, 'object')}`,
    ...(source.unread ?? []).map(({ kind, reason }) => `  not read      ${kind} ${reason}`),
    `  mesh          ${formatCount(mesh.workloads, 'workload')}, ${formatCount(mesh.services, 'service')}, ${formatCount(mesh.policies, 'policy', 'policies')}`,
    `  agents        ${agents.map(agentText).join(', ') || 'none'}`,
    ...planeProblems(report).map((problem) => `  problem       ${problem}`),
  ];
  return `${lines.join('\n')}\n${podTable(report)}`;
}

/** A directory without a control plane. */
export function describeObjects(report: ObjectsReport): string {
  return `${report.rejected.map((text) => `problem: ${text}\n`).join('')}${podTable(report)}`;
}

function agentText({ node, pending }: ConnectedAgent): string {
  return pending === 0 ? node : `${node} (${pending} to be told)`;
}

const columns: readonly Column<EnrolledPod>[] = [
  { title: 'POD', cell: ({ namespace, name }) => `${namespace}/${name}` },
  { title: 'NODE', cell: ({ node }) => node },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'WHY', cell: ({ detail }) => detail },
];

function podTable({ pods }: ObjectsReport): string {
  const sorted = [...pods].sort((left, right) =>
    `${left.namespace}/${left.name}` < `${right.namespace}/${right.name}` ? -1 : 1,
  );
  return pods.length === 0 ? '  no pods\n' : renderTable(columns, sorted).replace(/^(?=.)/gm, '  ');
}
