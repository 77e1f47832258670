import type { Command } from 'commander';
import { type CommandContext, configure } from './command-module.ts';
import { jsonText, type OutputFormat, outputOption } from './output-option.ts';

const examples = `
A lab is a mesh on this machine: each node and pod is a network namespace, each node runs an agent, and nothing of it is
reachable from outside. It needs root.

Examples:
  $ hadal lab up examples/bookshop --keep
  $ hadal lab status
  $ hadal lab exec front -- curl -s http://catalog.shop.svc/
  $ hadal lab down
`;

export function define(command: Command, context: CommandContext): void {
  command.enablePositionalOptions().addHelpText('after', examples);
  for (const [name, summary, defineOne] of [
    ['up', 'start a lab from a directory of manifests', up],
    ['status', 'labs of this machine, their nodes and pods', status],
    ['exec', 'run a program inside a pod', exec],
    ['down', 'end a lab, or remove what a crashed one left', down],
  ] as const) {
    const sub = configure(command.command(name), context.terminal);
    defineOne(
      sub.summary(summary).description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`),
      context,
    );
    sub.helpOption('-h, --help', 'print this help');
  }
}

function up(command: Command, { terminal, finish }: CommandContext): void {
  command
    .argument('<directory>', 'manifests: Namespace, ServiceAccount, Pod, Service')
    .option('--keep', 'stay up until Ctrl-C; the manifests are watched meanwhile')
    .option('--name <name>', 'up to 20 lower-case letters and digits; default: from the directory')
    .option('--nodes <names>', 'comma-separated; default: those that the pods name')
    .option('--no-agents', 'without a mesh: for comparison')
    .addHelpText(
      'after',
      '\nExamples:\n  $ hadal lab up examples/bookshop --keep\n  $ hadal lab up examples/bookshop --name second --keep\n',
    )
    .action(
      async (directory: string, options: { keep?: true; name?: string; nodes?: string; agents: boolean }) => {
        const { labUp } = await import('../lab/up.ts');
        const code = await labUp({
          directory,
          keep: options.keep === true,
          agents: options.agents,
          say: (line) => terminal.out(`${line}\n`),
          ...(options.name === undefined ? {} : { name: options.name }),
          ...(options.nodes === undefined ? {} : { nodes: options.nodes.split(',') }),
        });
        finish(code);
      },
    );
}

function status(command: Command, { terminal }: CommandContext): void {
  command
    .option('--name <name>', 'only this lab')
    .addOption(outputOption('table', 'json'))
    .addHelpText('after', '\nExamples:\n  $ hadal lab status\n  $ hadal lab status -o json\n')
    .action(async ({ name, output }: { name?: string; output: OutputFormat }) => {
      const { describeStatus, labStatus } = await import('../lab/status.ts');
      const labs = labStatus(name);
      terminal.out(output === 'json' ? jsonText({ labs }) : describeStatus(labs));
    });
}

function exec(command: Command, { finish }: CommandContext): void {
  command
    .argument('<pod>', 'name, or namespace/name')
    .argument('<command...>', 'the program and its arguments, after --')
    .option('--name <name>', 'the lab; needed when several are up')
    .option('--root', "with all capabilities inside the pod's namespaces")
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExamples:\n  $ hadal lab exec front -- curl -s http://catalog.shop.svc/\n  $ hadal lab exec --root shop/front -- ss -tnp\n',
    )
    .action(async (pod: string, argv: string[], options: { name?: string; root?: true }) => {
      const { labExec } = await import('../lab/exec.ts');
      finish(await labExec({ pod, argv, name: options.name, asRoot: options.root === true }));
    });
}

function down(command: Command, { terminal }: CommandContext): void {
  command
    .option('--name <name>', 'the lab; needed when several are up')
    .addHelpText('after', '\nExamples:\n  $ hadal lab down\n')
    .action(async ({ name }: { name?: string }) => {
      const { labDown } = await import('../lab/down.ts');
      terminal.out(`${await labDown(name)}\n`);
    });
}
