/** `hadal control-plane token`: what an agent of one node shows a control plane that has no Kubernetes to ask. */
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { HadalError } from '../base/errors.ts';
import { controlPlaneOptions } from '../config/control-plane-options.ts';
import { duration, nodeName, type Parser } from '../config/parsers.ts';
import type { CommandContext } from './command-module.ts';
import { formatDuration } from './quantities.ts';
import { renderTable } from './table.ts';
import { exitStatus } from './terminal.ts';

const day = 86_400_000;
const longestMs = 3_650 * day;

const examples = `
A token names one node: whoever has it gets certificates for the pods of that node and no other. Of each token the control plane
keeps the public half of its key, <data-dir>/join-keys/<id>.json; without that file the token is refused, at once.

Examples:
  $ hadal control-plane token --node node-1 --file /etc/hadal/token
  $ hadal control-plane token --node node-1 --lifetime 30d | ssh node-1 'umask 077; cat > /etc/hadal/token'
  $ hadal control-plane token --list
  $ hadal control-plane token --revoke 0f3c5a9d2b7e4c1680aa41d2
`;

interface Options {
  readonly node?: string;
  readonly lifetime?: number;
  readonly file?: string;
  readonly list?: true;
  readonly revoke?: string;
  readonly dataDir?: string;
}

export function defineToken(command: Command, { terminal, finish }: CommandContext): void {
  command
    .summary('make, list or revoke the token of a node')
    .description('Make, list or revoke the token that an agent shows a control plane without Kubernetes.')
    .option('--node <name>', 'make a token for this node', argument(nodeName))
    .option(
      '--lifetime <duration>',
      'how long it is valid (default: 90d)',
      argument(duration(1_000, longestMs)),
    )
    .option('--file <path>', 'write it there, mode 0600, instead of printing it')
    .option('--list', 'print the tokens that are valid, and for which nodes; never the tokens themselves')
    .option('--revoke <id>', 'refuse the token with this id from now on')
    .option('--data-dir <path>', "the control plane's HADAL_DATA_DIR")
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', examples)
    .action(async (options: Options) => {
      const chosen = [options.node, options.list, options.revoke].filter((one) => one !== undefined);
      if (chosen.length !== 1) {
        terminal.err('hadal: give one of --node, --list and --revoke\n');
        finish(exitStatus.usage);
        return;
      }
      const { JoinKeys, joinKeyDirectory } = await import('../identity/join-keys.ts');
      const { env, default: usual } = controlPlaneOptions.dataDirectory;
      const keys = new JoinKeys(
        joinKeyDirectory(options.dataDir ?? terminal.environment[env] ?? String(usual)),
      );
      if (options.node !== undefined) {
        await make(options.node, options, keys);
      } else if (options.revoke !== undefined) {
        if (await keys.remove(options.revoke)) return;
        throw new HadalError(
          'ERR_IDENTITY_JOIN_KEY',
          `${keys.directory} knows no token ${options.revoke}; --list prints those that it knows`,
        );
      } else {
        await list(keys);
      }
    });

  type Keys = InstanceType<typeof import('../identity/join-keys.ts').JoinKeys>;

  async function make(node: string, { lifetime = 90 * day, file }: Options, keys: Keys): Promise<void> {
    const { makeJoinToken } = await import('../identity/join-token.ts');
    const { token, key } = makeJoinToken(node, lifetime, terminal.now());
    await keys.removeExpired(terminal.now());
    await keys.add(key);
    if (file === undefined) {
      terminal.out(`${token}\n`);
    } else {
      try {
        // A file that is there keeps its mode, which somebody else may read.
        await writeFile(file, `${token}\n`, { mode: 0o600, flag: 'wx' });
      } catch (error) {
        await keys.remove(key.id);
        throw HadalError.from(error, 'ERR_IDENTITY_TOKEN_FILE', `writing the token to ${file}`);
      }
    }
    terminal.err(`token ${key.id} for node ${node}, valid until ${new Date(key.expiresAt).toISOString()}\n`);
  }

  async function list(keys: Keys): Promise<void> {
    const now = terminal.now();
    const rows = (await keys.list()).filter(({ expiresAt }) => expiresAt > now);
    if (rows.length === 0) {
      terminal.out('no tokens\n');
      return;
    }
    const columns = [
      { title: 'ID', cell: ({ id }: (typeof rows)[number]) => id },
      { title: 'NODE', cell: ({ node }: (typeof rows)[number]) => node },
      { title: 'EXPIRES', cell: (row: (typeof rows)[number]) => `in ${formatDuration(row.expiresAt - now)}` },
    ];
    terminal.out(renderTable(columns, rows));
  }
}

function argument<T>(parse: Parser<T>): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
}
