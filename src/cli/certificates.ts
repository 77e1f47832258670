import type { Command } from 'commander';
import { HadalError } from '../base/errors.ts';
import type { CertificateStatus } from '../identity/workload-certificates.ts';
import type { AgentStatus } from '../runtime/agent-status.ts';
import { askAgent } from './admin-client.ts';
import { type AgentAddress, type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatDuration } from './quantities.ts';
import { type Column, renderTable } from './table.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Private keys are never shown: they do not leave the agent. -o json holds the certificates in PEM.

Examples:
  $ hadal certificates
  $ hadal certificates --node node-1 -o json | jq -r '.certificates[0].certChain[0].pem' | openssl x509 -text
`;

interface Options extends AgentChoice {
  readonly output: OutputFormat;
}

type Row = CertificateStatus & { readonly node: string };

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addAgentOptions(command)
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const agents = await findAgents(options, terminal);
      const answers = await Promise.all(agents.map(ask));
      const failures = answers.flatMap((answer) => ('error' in answer ? [answer.error] : []));
      if (failures.length === answers.length && failures[0] !== undefined) throw failures[0];
      const rows = answers.flatMap((answer) => ('rows' in answer ? answer.rows : []));
      if (options.output === 'json') {
        terminal.out(jsonText({ certificates: rows, errors: failures.map((error) => error.toJSON()) }));
      } else {
        terminal.out(rows.length === 0 ? 'no certificates\n' : renderTable(columns(terminal.now()), rows));
        for (const { message, code } of failures) terminal.err(`hadal: ${message} (${code})\n`);
      }
      if (failures.length > 0) finish(exitStatus.failed);
    });
}

async function ask(
  agent: AgentAddress,
): Promise<{ readonly rows: readonly Row[] } | { readonly error: HadalError }> {
  try {
    const [{ node }, { certificates }] = await Promise.all([
      askAgent<AgentStatus>(agent, '/status'),
      askAgent<{ certificates: CertificateStatus[] }>(agent, '/config_dump?section=certificates'),
    ]);
    return { rows: certificates.map((status) => ({ node, ...status })) };
  } catch (error) {
    return { error: HadalError.from(error) };
  }
}

function columns(now: number): Column<Row>[] {
  const until = (time: string | undefined) =>
    time === undefined ? '' : Date.parse(time) > now ? `in ${formatDuration(Date.parse(time) - now)}` : 'due';
  return [
    { title: 'NODE', cell: ({ node }) => node },
    { title: 'IDENTITY', cell: ({ identity }) => identity },
    { title: 'STATE', cell: ({ phase }) => phase },
    { title: 'EXPIRES', cell: ({ certChain }) => until(certChain[0]?.expirationTime) },
    { title: 'RENEWAL', cell: ({ renewAt, retryAt }) => until(renewAt ?? retryAt) },
    { title: 'PODS', cell: ({ users }) => String(users), align: 'right' },
    { title: 'ROOTS', cell: ({ rootCerts }) => String(rootCerts.length), align: 'right' },
    { title: 'PROBLEM', cell: ({ error = '' }) => error },
  ];
}
