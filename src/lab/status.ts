/** `hadal lab status`: the labs of this machine, their nodes and pods. */
import { isAlive } from './process.ts';
import { type LabRecord, type PodRecord, readLabs } from './registry.ts';

export interface LabStatus extends LabRecord {
  /** False: its process is gone, `hadal lab down` removes what is left. */
  readonly alive: boolean;
}

export function labStatus(name?: string): LabStatus[] {
  return readLabs()
    .filter((lab) => name === undefined || lab.name === name)
    .map((lab) => ({ ...lab, alive: isAlive(lab.owner) }));
}

export function describeStatus(labs: readonly LabStatus[]): string {
  if (labs.length === 0) return 'no lab is up; start one: hadal lab up examples/bookshop --keep\n';
  return labs.map(describeLab).join('\n');
}

function describeLab(lab: LabStatus): string {
  const state = !lab.alive ? 'crashed; remove it: hadal lab down' : lab.ready ? 'up' : 'starting';
  const nodes = lab.nodes.map((node) => [node.name, node.addresses.join(' '), agentState(node.agent)]);
  const pods = lab.pods.map((pod) => [
    `${pod.namespace}/${pod.name}`,
    pod.node,
    pod.addresses.join(' '),
    podState(pod),
  ]);
  return [
    `lab ${lab.name}: ${state} (process ${lab.owner.pid}, since ${lab.startedAt})`,
    ...table(['NODE', 'ADDRESSES', 'AGENT'], nodes),
    ...table(['POD', 'NODE', 'ADDRESSES', 'STATE'], pods),
    '',
  ].join('\n');
}

const agentState = (agent: { readonly pid: number | undefined } | undefined) =>
  agent === undefined ? 'none' : agent.pid === undefined ? 'not running' : `process ${agent.pid}`;

function podState(pod: PodRecord): string {
  const restarts = pod.restarts === 0 ? '' : `, ${pod.restarts} restarts`;
  return `${pod.enrolled ? 'meshed' : 'outside the mesh'}, ${pod.ready ? 'ready' : 'not ready'}${restarts}`;
}

/** Columns as wide as their longest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ')}`.trimEnd();
  return [line(head), ...rows.map(line)];
}
