import { X509Certificate } from 'node:crypto';
import type { Command } from 'commander';
import { HadalError } from '../base/errors.ts';
import type { ControlPlaneStatus } from '../controlplane/plane-reports.ts';
import type { AuthorityStatus } from '../identity/live-authority.ts';
import type { CertificateDescription } from '../identity/workload-certificate.ts';
import type { CertificateStatus } from '../identity/workload-certificates.ts';
import type { AgentStatus } from '../runtime/agent-status.ts';
import { askAgent } from './admin-client.ts';
import { type AgentAddress, type AgentChoice, addAgentOptions, findAgents } from './agent-address.ts';
import { describeAuthority } from './authority-roots.ts';
import type { CommandContext } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';
import { formatDuration } from './quantities.ts';
import { type Column, renderTable } from './table.ts';
import { exitStatus } from './terminal.ts';

const examples = `
Private keys are never shown: they do not leave the agent. -o json holds the certificates in PEM.
The roots follow: while they are rotated, how many certificates came with each, and how many are signed below it.
Of a control plane (--admin): what its authority signs with, and the roots that it gives out.

Examples:
  $ hadal certificates
  $ hadal certificates --node node-1 -o json | jq -r '.certificates[0].certChain[0].pem' | openssl x509 -text
`;

interface Options extends AgentChoice {
  readonly output: OutputFormat;
}

type Row = CertificateStatus & { readonly node: string };

/** A root that some certificate came with. A rotation goes on when all have the new one, and ends when none is below the old one. */
interface RootRow {
  readonly root: CertificateDescription;
  readonly trustedBy: number;
  readonly signed: number;
  readonly of: number;
}

export function define(command: Command, { terminal, finish }: CommandContext): void {
  addAgentOptions(command)
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const agents = await findAgents(options, terminal);
      const answers = await Promise.all(agents.map(ask));
      const failures = answers.flatMap((answer) => ('error' in answer ? [answer.error] : []));
      if (failures.length === answers.length && failures[0] !== undefined) throw failures[0];
      const authorities = answers.flatMap((answer) => ('authority' in answer ? [answer.authority] : []));
      if (authorities.length > 0) {
        const [authority] = authorities;
        terminal.out(
          options.output === 'json'
            ? jsonText({ authority })
            : authorities.map((each) => describeAuthority(each, terminal.now())).join('\n'),
        );
        if (authorities.some(({ error }) => error !== undefined)) finish(exitStatus.failed);
        return;
      }
      const rows = answers.flatMap((answer) => ('rows' in answer ? answer.rows : []));
      if (options.output === 'json') {
        terminal.out(jsonText({ certificates: rows, errors: failures.map((error) => error.toJSON()) }));
      } else {
        terminal.out(rows.length === 0 ? 'no certificates\n' : renderTable(columns(terminal.now()), rows));
        const roots = rootsOf(rows);
        if (roots.length > 0) terminal.out(`\n${renderTable(rootColumns(terminal.now()), roots)}`);
        for (const { message, code } of failures) terminal.err(`hadal: ${message} (${code})\n`);
      }
      if (failures.length > 0) finish(exitStatus.failed);
    });
}

type Answer =
  | { readonly rows: readonly Row[] }
  | { readonly authority: AuthorityStatus }
  | { readonly error: HadalError };

async function ask(agent: AgentAddress): Promise<Answer> {
  try {
    const status = await askAgent<AgentStatus | ControlPlaneStatus>(agent, '/status');
    if ('role' in status) return await askAgent(agent, '/config_dump?section=authority');
    const { node } = status;
    const { certificates } = await askAgent<{ certificates: CertificateStatus[] }>(
      agent,
      '/config_dump?section=certificates',
    );
    return { rows: certificates.map((status) => ({ node, ...status })) };
  } catch (error) {
    return { error: HadalError.from(error) };
  }
}

function rootsOf(rows: readonly Row[]): RootRow[] {
  const served = rows.filter(({ certChain }) => certChain.length > 0);
  const all = new Map(served.flatMap(({ rootCerts }) => rootCerts.map((root) => [root.pem, root] as const)));
  return [...all.values()].map((root) => ({
    root,
    trustedBy: served.filter(({ rootCerts }) => rootCerts.some(({ pem }) => pem === root.pem)).length,
    signed: served.filter(({ certChain }) => isBelow(certChain.at(-1), root)).length,
    of: served.length,
  }));
}

/** Old and new root often have one name; their keys tell them apart. */
function isBelow(last: CertificateDescription | undefined, root: CertificateDescription): boolean {
  try {
    return (
      last !== undefined && new X509Certificate(last.pem).verify(new X509Certificate(root.pem).publicKey)
    );
  } catch {
    return false;
  }
}

function rootColumns(now: number): Column<RootRow>[] {
  return [
    { title: 'ROOT', cell: ({ root }) => root.subject },
    { title: 'SERIAL NUMBER', cell: ({ root }) => root.serialNumber },
    { title: 'EXPIRES', cell: ({ root }) => until(root.expirationTime, now) },
    { title: 'TRUSTED BY', cell: ({ trustedBy, of }) => `${trustedBy} of ${of}` },
    { title: 'SIGNED', cell: ({ signed, of }) => `${signed} of ${of}` },
  ];
}

function until(time: string | undefined, now: number): string {
  if (time === undefined) return '';
  return Date.parse(time) > now ? `in ${formatDuration(Date.parse(time) - now)}` : 'due';
}

function columns(now: number): Column<Row>[] {
  return [
    { title: 'NODE', cell: ({ node }) => node },
    { title: 'IDENTITY', cell: ({ identity }) => identity },
    { title: 'STATE', cell: ({ phase }) => phase },
    { title: 'EXPIRES', cell: ({ certChain }) => until(certChain[0]?.expirationTime, now) },
    { title: 'RENEWAL', cell: ({ renewAt, retryAt }) => until(renewAt ?? retryAt, now) },
    { title: 'PODS', cell: ({ users }) => String(users), align: 'right' },
    { title: 'ROOTS', cell: ({ rootCerts }) => String(rootCerts.length), align: 'right' },
    { title: 'PROBLEM', cell: ({ error = '' }) => error },
  ];
}
