/** Finds the command, loads its file, runs it and makes an exit status of how it ended. */
import { Command, CommanderError } from 'commander';
import { HadalError } from '../base/errors.ts';
import { type CommandContext, type CommandModule, configure } from './command-module.ts';
import { packageVersion } from './package-version.ts';
import { exitStatus, type Terminal } from './terminal.ts';

interface CommandEntry {
  readonly name: string;
  readonly group: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

/** Nouns only read, verbs change. The order is that of the help. */
const commands: readonly CommandEntry[] = [
  {
    name: 'connections',
    group: 'Look:',
    summary: 'live and just ended connections: who, with whom, by which path, how much',
    load: () => import('./connections.ts'),
  },
  {
    name: 'status',
    group: 'Look:',
    summary: 'agents, their pods and what is not in order',
    load: () => import('./status.ts'),
  },
  {
    name: 'certificates',
    group: 'Look:',
    summary: 'identities of the pods and their certificates',
    load: () => import('./certificates.ts'),
  },
  {
    name: 'workloads',
    group: 'Look:',
    summary: 'pods and whatever else the mesh knows by address',
    load: () => import('./workloads.ts'),
  },
  {
    name: 'services',
    group: 'Look:',
    summary: 'services, their ports and endpoints',
    load: () => import('./services.ts'),
  },
  {
    name: 'policies',
    group: 'Look:',
    summary: 'who may connect: the policies that agents enforce',
    load: () => import('./policies.ts'),
  },
  {
    name: 'explain',
    group: 'Look:',
    summary: 'whether a connection is allowed, and why',
    load: () => import('./explain.ts'),
  },
  {
    name: 'analyze',
    group: 'Look:',
    summary: 'what is wrong with manifests, without a cluster',
    load: () => import('./analyze.ts'),
  },
  {
    name: 'check',
    group: 'Look:',
    summary: 'whether this machine can run an agent, requirement by requirement',
    load: () => import('./check.ts'),
  },
  {
    name: 'turbo',
    group: 'Change:',
    summary: 'the switch of this node: sends between pods past TCP, or not',
    load: () => import('./turbo.ts'),
  },
  {
    name: 'lab',
    group: 'Try:',
    summary: 'a whole mesh on this machine, in network namespaces',
    load: () => import('./lab.ts'),
  },
  {
    name: 'agent',
    group: 'Run:',
    summary: 'the agent of a node',
    load: () => import('./agent.ts'),
  },
  {
    name: 'forget-address',
    group: 'Run:',
    summary: 'a pod comes or goes on this node: no direct way leads to its addresses',
    load: () => import('./forget-address.ts'),
  },
  {
    name: 'control-plane',
    group: 'Run:',
    summary: 'the control plane: what is written becomes what agents need',
    load: () => import('./control-plane.ts'),
  },
];

const examples = `
Examples:
  $ hadal check                             can this machine run an agent?
  $ hadal lab up examples/bookshop --keep   a mesh of two nodes on this machine
  $ hadal connections --follow              who talks to whom
  $ hadal help connections                  all about one command
`;

/** Runs one command line, without the program's name. Never rejects, never exits; output goes to the terminal. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  let status: number = exitStatus.ok;
  try {
    const program = await build(args, {
      terminal,
      finish: (code) => {
        status = code;
      },
    });
    await program.parseAsync([...args], { from: 'user' });
    return status;
  } catch (error) {
    return report(error, args, terminal);
  }
}

async function build(args: readonly string[], context: CommandContext): Promise<Command> {
  const { terminal } = context;
  const program = configure(new Command('hadal'), terminal)
    .description(
      'A service mesh without sidecars: one agent per node, eBPF capture, mutual TLS between nodes.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', examples)
    .showSuggestionAfterError()
    .enablePositionalOptions();
  const wanted = wantedCommand(args);
  for (const { name, group, summary, load } of commands) {
    const command = configure(program.command(name), terminal)
      .summary(summary)
      .description(sentence(summary))
      .helpGroup(group)
      .helpOption('-h, --help', 'print this help');
    if (name === wanted) (await load()).define(command, context);
  }
  return program;
}

/** The first word that is no option; `help X` is about X. */
function wantedCommand(args: readonly string[]): string | undefined {
  const words = args.filter((word) => !word.startsWith('-'));
  return words[0] === 'help' ? words[1] : words[0];
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

function report(caught: unknown, args: readonly string[], terminal: Terminal): number {
  if (caught instanceof CommanderError) {
    if (caught.exitCode === 0) return exitStatus.ok;
    // Help that nobody asked for, since a command was missing.
    if (caught.code === 'commander.help') return exitStatus.usage;
    return exitStatus.usage;
  }
  const error = HadalError.from(caught);
  if (wantsJson(args)) terminal.err(`${JSON.stringify({ error: error.toJSON() })}\n`);
  else terminal.err(describe(error, caught));
  return error.code === 'ERR_USAGE' ? exitStatus.usage : exitStatus.failed;
}

function describe(error: HadalError, caught: unknown): string {
  const head = `hadal: ${error.message} (${error.code})\n`;
  if (error.code !== 'ERR_INTERNAL' || !(caught instanceof Error)) return head;
  return `${head}This is a mistake of Hadal's own; please report it with what follows.\n${caught.stack ?? ''}\n`;
}

function wantsJson(args: readonly string[]): boolean {
  return args.some((word, index) => {
    const value = word.startsWith('--output=')
      ? word.slice(9)
      : word.startsWith('-o')
        ? word.slice(2)
        : undefined;
    if (value === 'json') return true;
    return (word === '-o' || word === '--output') && args[index + 1] === 'json';
  });
}
