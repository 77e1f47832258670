import { type Command, Option } from 'commander';
import { sleep } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { NodeConnections } from '../runtime/admin-server.ts';
import type { ConnectionEntry, ConnectionParty } from '../telemetry/connection-entry.ts';
import { askAgent, askAgents } from './admin-client.ts';
import { type AgentAddress, type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatBytes, formatDuration } from './quantities.ts';
import { type Column, renderRow, renderTable, renderTitles } from './table.ts';
import { exitStatus, type Terminal } from './terminal.ts';

interface Options extends AgentChoice {
  readonly output: OutputFormat;
  readonly follow?: true;
  readonly state?: string;
  readonly pod?: string;
  readonly limit?: string;
}

/** A connection with the node whose agent told of it. */
export type NodeConnection = ConnectionEntry & { readonly node: string };

const examples = `
Each agent tells of its own pods, so a connection between two nodes appears once on each. SENT and RECEIVED are as
the source sees them. PATH: tunnel (mutual TLS), plaintext (carried in clear), untouched (left to the kernel).

Examples:
  $ hadal connections                           of this machine's agent, or of the lab that is up
  $ hadal connections --follow                  and of every further one, until Ctrl-C
  $ hadal connections --state refused -o wide   what was refused, with identities and reasons
  $ hadal connections --pod shop/front -o json
`;

const followIntervalMs = 1_000;
const tableLimit = 50;

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addAgentOptions(command)
    .addOption(outputOption('table', 'wide', 'json'))
    .option('-f, --follow', 'go on until Ctrl-C; with -o json one object a line')
    .addOption(new Option('--state <state>', 'only these').choices(['live', 'closed', 'refused']))
    .option('--pod <namespace/name>', 'only those of this pod')
    .option('--limit <count>', `the newest of each agent; default ${tableLimit} in tables, all in JSON`)
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const agents = await findAgents(options, terminal);
      if (options.follow === true) await follow(agents, options, terminal);
      else finish(await list(agents, options, terminal));
    });
}

async function list(agents: readonly AgentAddress[], options: Options, terminal: Terminal): Promise<number> {
  const limit = options.limit ?? (options.output === 'json' ? undefined : String(tableLimit));
  const answers = await askAgents<NodeConnections>(agents, query(options, { limit }));
  const failures = answers.flatMap((answer) => ('error' in answer ? [answer.error] : []));
  if (failures.length === answers.length && failures[0] !== undefined) throw failures[0];
  const lists = answers.flatMap((answer) => ('value' in answer ? [answer.value] : []));
  const connections = lists.flatMap(withNode).sort(newestFirst);
  if (options.output === 'json') {
    const errors = failures.map((error) => error.toJSON());
    terminal.out(jsonText({ connections, lost: lists.reduce((sum, { lost }) => sum + lost, 0), errors }));
  } else {
    terminal.out(
      connections.length === 0 ? 'no connections\n' : renderTable(columnsOf(options.output), connections),
    );
    for (const { message, code } of failures) terminal.err(`hadal: ${message} (${code})\n`);
  }
  return failures.length === 0 ? exitStatus.ok : exitStatus.failed;
}

async function follow(agents: readonly AgentAddress[], options: Options, terminal: Terminal): Promise<void> {
  const columns = columnsOf(options.output);
  const widths = columns.map(({ title }) => streamWidths[title] ?? title.length);
  const cursors = new Map<AgentAddress, string>();
  const told = new Set<string>();
  if (options.output !== 'json') terminal.out(`${renderTitles(columns, widths)}\n`);
  while (!terminal.interrupted.aborted) {
    const fresh = await Promise.all(agents.map((agent) => ask(agent, options, cursors, terminal)));
    for (const connection of newConnections(fresh.flat(), told)) {
      if (options.output === 'json') terminal.out(`${JSON.stringify(connection)}\n`);
      else terminal.out(`${renderRow(columns, widths, connection)}\n`);
    }
    await sleep(followIntervalMs, terminal.interrupted).catch(() => {});
  }
}

async function ask(
  agent: AgentAddress,
  options: Options,
  cursors: Map<AgentAddress, string>,
  terminal: Terminal,
): Promise<NodeConnection[]> {
  const first = !cursors.has(agent);
  try {
    const parts = { after: cursors.get(agent), limit: first ? (options.limit ?? '10') : undefined };
    const answer = await askAgent<NodeConnections>(agent, query(options, parts), terminal.interrupted);
    cursors.set(agent, answer.cursor);
    return withNode(answer);
  } catch (error) {
    if (terminal.interrupted.aborted) return [];
    // The first answer must come; later an agent may restart.
    if (first) throw error;
    terminal.err(`hadal: ${HadalError.from(error).message}\n`);
    return [];
  }
}

/** Oldest first: a live connection when it is first seen, every connection when it ended. */
function newConnections(connections: NodeConnection[], told: Set<string>): NodeConnection[] {
  const stillLive = new Set<string>();
  const fresh = connections.filter((connection) => {
    const key = `${connection.node} ${connection.id}`;
    if (connection.state !== 'live') return true;
    stillLive.add(key);
    return !told.has(key);
  });
  told.clear();
  for (const key of stillLive) told.add(key);
  return fresh.sort((a, b) => toldAt(a) - toldAt(b));
}

/** When there was something to tell: a live connection when it began, others when they ended. */
function toldAt({ time, durationMs, state }: NodeConnection): number {
  return Date.parse(time) + (state === 'live' ? 0 : durationMs);
}

function query(options: Options, parts: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ state: options.state, pod: options.pod, ...parts })) {
    if (value !== undefined) query.set(name, value);
  }
  return query.size === 0 ? '/connections' : `/connections?${query}`;
}

function withNode({ node, connections }: NodeConnections): NodeConnection[] {
  return connections.map((connection) => ({ node, ...connection }));
}

function newestFirst(a: NodeConnection, b: NodeConnection): number {
  return a.time < b.time ? 1 : a.time > b.time ? -1 : 0;
}

const columns: readonly Column<NodeConnection>[] = [
  { title: 'TIME', cell: ({ time }) => time.slice(11, 23) },
  { title: 'NODE', cell: ({ node }) => node },
  { title: 'DIRECTION', cell: ({ direction }) => direction },
  { title: 'PATH', cell: ({ path }) => path },
  { title: 'SOURCE', cell: ({ source }) => partyText(source) },
  { title: 'DESTINATION', cell: ({ destination }) => partyText(destination) },
  { title: 'SENT', cell: ({ bytesSent }) => formatBytes(bytesSent), align: 'right' },
  { title: 'RECEIVED', cell: ({ bytesReceived }) => formatBytes(bytesReceived), align: 'right' },
  { title: 'RTT', cell: ({ rttMs }) => (rttMs === undefined ? '' : formatDuration(rttMs)), align: 'right' },
  { title: 'RETR', cell: ({ retransmits }) => String(retransmits), align: 'right' },
  { title: 'DURATION', cell: ({ durationMs }) => formatDuration(durationMs), align: 'right' },
  { title: 'STATE', cell: stateText },
];

const wideColumns: readonly Column<NodeConnection>[] = [
  ...columns,
  { title: 'SERVICE', cell: ({ service = '' }) => service },
  { title: 'SOURCE IDENTITY', cell: ({ source: { identity = '' } }) => identity },
  { title: 'DESTINATION IDENTITY', cell: ({ destination: { identity = '' } }) => identity },
  { title: 'ENDPOINT', cell: ({ endpoint }) => (endpoint === undefined ? '' : addressText(endpoint)) },
  { title: 'WHY', cell: ({ reasonText = '' }) => reasonText },
];

/** Rows of a stream cannot wait for the longest cell. */
const streamWidths: Readonly<Record<string, number>> = {
  TIME: 12,
  NODE: 8,
  DIRECTION: 9,
  PATH: 9,
  SOURCE: 34,
  DESTINATION: 34,
  SENT: 8,
  RECEIVED: 8,
  RTT: 6,
  RETR: 4,
  DURATION: 8,
  STATE: 8,
  SERVICE: 32,
  'SOURCE IDENTITY': 44,
  'DESTINATION IDENTITY': 44,
  ENDPOINT: 21,
};

function columnsOf(output: OutputFormat): readonly Column<NodeConnection>[] {
  return output === 'wide' ? wideColumns : columns;
}

function partyText({ workload, namespace, address, port }: ConnectionParty): string {
  if (workload === undefined) return addressText({ address, port });
  return `${namespace ?? '?'}/${workload} ${addressText({ address, port })}`;
}

function addressText({ address, port }: { readonly address: string; readonly port: number }): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** `closed` when all went well, else also why. */
function stateText({ state, reason, path }: ConnectionEntry): string {
  if (reason === 'none' || path === 'untouched') return state;
  return `${state}: ${reason}`;
}
