import type { Command } from 'commander';
import type { AgentStatus, PodStatus } from '../runtime/agent-status.ts';
import { type AgentAnswer, askAgents, describeAddress } from './admin-client.ts';
import { type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatCount, formatDuration } from './quantities.ts';
import { type Column, renderTable } from './table.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Ends with 1 when an agent does not answer or is not ready, or when a pod is not captured.

Examples:
  $ hadal status
  $ hadal status --lab bookshop -o json
`;

interface Options extends AgentChoice {
  readonly output: OutputFormat;
}

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addAgentOptions(command)
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const agents = await findAgents(options, terminal);
      const answers = await askAgents<AgentStatus>(agents, '/status');
      if (options.output === 'json') terminal.out(jsonText({ agents: answers.map(toJson) }));
      // What is known comes before what failed.
      else terminal.out(answers.map((answer) => describe(answer, terminal.now())).join('\n'));
      if (!answers.every(isInOrder)) finish(exitStatus.failed);
    });
}

function toJson(answer: AgentAnswer<AgentStatus>): unknown {
  return 'value' in answer
    ? answer.value
    : { address: describeAddress(answer.agent), error: answer.error.toJSON() };
}

function isInOrder(answer: AgentAnswer<AgentStatus>): boolean {
  return 'value' in answer && problems(answer.value).length === 0;
}

function describe(answer: AgentAnswer<AgentStatus>, now: number): string {
  if ('error' in answer)
    return `agent of ${answer.agent.name}: ${answer.error.message} (${answer.error.code})\n`;
  const status = answer.value;
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
    `  certificates  ${certificates.join(', ') || 'none'}`,
    ...wrong.map((problem) => `  problem       ${problem}`),
  ];
  const table = pods.length === 0 ? '  no pods\n' : indent(renderTable(podColumns, pods));
  return `${lines.join('\n')}\n${table}`;
}

function controlPlaneLines({ controlPlane }: AgentStatus, now: number): string[] {
  if (controlPlane === undefined) return [];
  const { address, connectedAt, heardAt } = controlPlane;
  const ago = (time: string) => formatDuration(now - Date.parse(time));
  const connected = connectedAt === undefined ? 'not connected' : `connected for ${ago(connectedAt)}`;
  const heard = heardAt === undefined ? 'nothing heard yet' : `last heard ${ago(heardAt)} ago`;
  return [`  control plane ${address}, ${connected}, ${heard}`];
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
    ...(controlPlane?.rejected ?? []).map(
      ({ name, reason }) =>
        `${name} as the control plane has it is refused, its last good version stays: ${reason}`,
    ),
    ...(bad === 0
      ? []
      : [`${formatCount(bad, 'certificate')} could not be fetched or renewed: hadal certificates`]),
    ...pods.filter(({ error }) => error !== undefined).map(({ name, error }) => `pod ${name}: ${error}`),
  ];
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}
