/** Where the agents are that a command means: one by URL, one by its node's name, or all of those on this machine. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { HadalError } from '../base/errors.ts';
import type { Terminal } from './terminal.ts';

export interface AgentAddress {
  /** For messages and tables; the agent's own answer is more exact. */
  readonly name: string;
  readonly target: { readonly socketPath: string } | { readonly host: string; readonly port: number };
}

export interface AgentChoice {
  readonly admin?: string;
  readonly node?: string;
  readonly lab?: string;
}

const defaultRuntimeDirectory = '/run/hadal';
const defaultAdminPort = 15_000;

export function addAgentOptions(command: Command): Command {
  return command
    .option('--node <name>', 'only the agent of this node of a lab')
    .option('--lab <name>', 'the agents of this lab; needed when several are up')
    .option(
      '--admin <url>',
      'an agent by its admin server: http://127.0.0.1:15000 or unix:/run/hadal/admin.sock',
    );
}

/** Never empty. Without a choice: the agent of this machine, else those of the lab that is up. */
export async function findAgents(choice: AgentChoice, terminal: Terminal): Promise<AgentAddress[]> {
  if (choice.admin !== undefined) return [parseAdminUrl(choice.admin)];
  const own = isChosen(choice) ? [] : ownAgents(terminal);
  return own.length > 0 ? own : labAgents(choice, terminal);
}

export function isChosen({ admin, node, lab }: AgentChoice): boolean {
  return admin !== undefined || node !== undefined || lab !== undefined;
}

/** The agent of this machine, if there is one. */
export function ownAgents({ environment }: Terminal): AgentAddress[] {
  const socketPath = join(environment.HADAL_RUNTIME_DIR ?? defaultRuntimeDirectory, 'admin.sock');
  return existsSync(socketPath) ? [{ name: 'this machine', target: { socketPath } }] : [];
}

async function labAgents({ node, lab: wanted }: AgentChoice, terminal: Terminal): Promise<AgentAddress[]> {
  const { findLab, readLabs } = await import('../lab/registry.ts');
  if (node === undefined && wanted === undefined && readLabs().length === 0) {
    // Nothing is known to run here; where an agent would listen is the best guess, and its error says so.
    const port = Number(terminal.environment.HADAL_ADMIN_PORT ?? defaultAdminPort);
    return [{ name: 'this machine', target: { host: '127.0.0.1', port } }];
  }
  const lab = findLab(wanted);
  const nodes = lab.nodes.filter((each) => node === undefined || each.name === node);
  if (nodes.length === 0) {
    const names = lab.nodes.map((each) => each.name).join(', ');
    throw new HadalError('ERR_USAGE', `lab ${lab.name} has no node ${node ?? ''}; there are: ${names}`);
  }
  const agents = nodes.flatMap(({ name, agent }) =>
    agent === undefined ? [] : [{ name, target: { socketPath: join(dirname(agent.socket), 'admin.sock') } }],
  );
  if (agents.length === 0) throw new HadalError('ERR_USAGE', `lab ${lab.name} runs without agents`);
  return agents;
}

export function parseAdminUrl(text: string): AgentAddress {
  if (text.startsWith('unix:'))
    return { name: text, target: { socketPath: text.slice('unix:'.length).replace(/^\/\//, '') } };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'http:') {
    throw new HadalError(
      'ERR_USAGE',
      `--admin ${JSON.stringify(text)} is neither http://HOST:PORT nor unix:/path/to/admin.sock`,
    );
  }
  const port = url.port === '' ? 80 : Number(url.port);
  return { name: url.host, target: { host: url.hostname.replace(/^\[|\]$/g, ''), port } };
}
