import type { Command } from 'commander';
import type { ControlPlaneStatus } from '../controlplane/plane-reports.ts';
import type { AgentStatus, PodStatus, RejectedByAgent } from '../runtime/agent-status.ts';
import { type AgentAnswer, askAgents, describeAddress } from './admin-client.ts';
import { type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import type { CommandContext } from './command-module.ts';
import { addDirectoryOption, refuseAgents } from './mesh-choice.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import {
  describeObjects,
  describePlane,
  type PlaneReport,
  planeProblems,
  readPlaneReport,
} from './plane-status.ts';
import { formatCount, formatDuration } from './quantities.ts';
import { describePath } from './same-node-path.ts';
import { type Column, renderTable } from './table.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Of a control plane (--admin) and of a directory: which pods are in the mesh, and why or why not. Ends with 1 when an agent or the
control plane does not answer or is not ready, when a pod is not captured, or when an object is rejected.

Examples:
  $ hadal status
  $ hadal status --lab bookshop -o json
  $ hadal status --admin http://127.0.0.1:15000
  $ hadal status --directory manifests
`;

interface Options extends AgentChoice {
  readonly output: OutputFormat;
  readonly directory?: string;
}

type Status = AgentStatus | PlaneReport;

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addDirectoryOption(addAgentOptions(command))
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async ({ directory, ...options }: Options) => {
      if (directory !== undefined) {
        refuseAgents(options);
        const { reportDirectory } = await import('./directory-status.ts');
        const report = reportDirectory(directory);
        terminal.out(options.output === 'json' ? jsonText(report) : describeObjects(report));
        if (report.rejected.length > 0) finish(exitStatus.failed);
        return;
      }
      const agents = await findAgents(options, terminal);
      const answers = await Promise.all(
        (await askAgents<AgentStatus | ControlPlaneStatus>(agents, '/status')).map(withReport),
      );
      if (options.output === 'json') terminal.out(jsonText({ agents: answers.map(toJson) }));
      // What is known comes before what failed.
      else terminal.out(answers.map((answer) => describe(answer, terminal.now())).join('\n'));
      if (!answers.every(isInOrder)) finish(exitStatus.failed);
    });
}

function toJson(answer: AgentAnswer<Status>): unknown {
  return 'value' in answer
    ? answer.value
    : { address: describeAddress(answer.agent), error: answer.error.toJSON() };
}

/** A control plane has more to tell than its status says. */
async function withReport(
  answer: AgentAnswer<AgentStatus | ControlPlaneStatus>,
): Promise<AgentAnswer<Status>> {
  if ('error' in answer) return answer;
  const { agent, value } = answer;
  return 'role' in value ? { agent, value: await readPlaneReport(agent, value) } : { agent, value };
}

function isInOrder(answer: AgentAnswer<Status>): boolean {
  if ('error' in answer) return false;
  const { value } = answer;
  return 'role' in value ? planeProblems(value).length === 0 : problems(value).length === 0;
}

function describe(answer: AgentAnswer<Status>, now: number): string {
  if ('error' in answer)
    return `agent of ${answer.agent.name}: ${answer.error.message} (${answer.error.code})\n`;
  const status = answer.value;
  if ('role' in status) return describePlane(status, now);
  const { node, version, pid, startedAt, mesh, pods } = status;
  const wrong = problems(status);
  const certificates = Object.entries(status.certificates)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  const lines = [
    `agent of ${node}: ${status.ready ? 'ready' : 'not ready'} (version ${version}, process ${pid}, up ${formatDuration(now - Date.parse(startedAt))})`,
    `  mesh          ${formatCount(mesh.workloads, 'workload')}, ${formatCount(mesh.services, 'service')}, ${formatCount(mesh.policies, 'policy', 'policies')}`,
    ...controlPlaneLines(status, now),
    `  connections   ${status.connectionsOpen} open, ${formatCount(status.tunnelsOpen, 'tunnel')}`,
    ...(status.sameNodePath === undefined ? [] : [`  same node     ${describePath(status.sameNodePath)}`]),
    `  certificates  ${certificates.join(', ') || 'none'}`,
    ...wrong.map((problem) => `  problem       ${problem}`),
    ...pods.flatMap(({ name, notes = [] }) => notes.map((note) => `  note          pod ${name}: ${note}`)),
  ];
  const table = pods.length === 0 ? '  no pods\n' : indent(renderTable(podColumns, pods));
  return `${lines.join('\n')}\n${table}`;
}

function controlPlaneLines({ controlPlane }: AgentStatus, now: number): string[] {
  if (controlPlane === undefined) return [];
  const { address, connectedAt, heardAt, held, behind, names } = controlPlane;
  const ago = (time: string) => formatDuration(now - Date.parse(time));
  const connected = connectedAt === undefined ? 'not connected' : `connected for ${ago(connectedAt)}`;
  const heard = heardAt === undefined ? 'nothing heard yet' : `last heard ${ago(heardAt)} ago`;
  const lines = [`  control plane ${address}, ${connected}, ${heard}`];
  if (names !== undefined) lines.push(`                ${formatCount(names, 'name')} asked for, on demand`);
  if (held !== undefined)
    lines.push(`                ${formatCount(held, 'resource')} received, in force when the push has ended`);
  if (behind !== undefined)
    lines.push(
      `                behind what is in force for ${ago(behind.since)}; not believed before ${behind.acceptedAt}`,
    );
  return lines;
}

const podColumns: readonly Column<PodStatus>[] = [
  { title: 'POD', cell: ({ name }) => name },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'ADDRESSES', cell: ({ addresses }) => addresses.join(' ') },
  { title: 'IDENTITY', cell: ({ identity }) => identity },
];

function problems({ pending, stateError, controlPlane, pods, certificates }: AgentStatus): string[] {
  const bad = (certificates.failed ?? 0) + (certificates.overdue ?? 0);
  return [
    ...pending.map((name) => `waits for: ${name}`),
    ...(stateError === undefined
      ? []
      : [`the mesh state was refused, the one before is in force: ${stateError}`]),
    ...(controlPlane?.error === undefined
      ? []
      : [`the control plane is not heard, what it said last is in force: ${controlPlane.error}`]),
    ...(controlPlane?.rejected ?? []).map(describeRejected),
    ...(bad === 0
      ? []
      : [`${formatCount(bad, 'certificate')} could not be fetched or renewed: hadal certificates`]),
    ...pods.filter(({ error }) => error !== undefined).map(({ name, error }) => `pod ${name}: ${error}`),
  ];
}

function describeRejected({ name, reason, refuses }: RejectedByAgent): string {
  return refuses === undefined
    ? `${name} as the control plane has it is refused, its last good version stays: ${reason}`
    : `${name} was never understood, so it refuses connections to ${refuses}: ${reason}`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}
