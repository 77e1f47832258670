/**
 * README says nothing that does not work: its commands are run as they stand there, up to the name of the lab, which must not
 * meet another one of this machine; what another test runs, or what takes too long, is listed with where it is run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseBenchOptions } from '../../bench/options.ts';
import { type CommandResult, capture } from '../../src/lab/command.ts';
import { packageRoot } from '../../src/lab/package-root.ts';
import { readLab } from '../../src/lab/registry.ts';
import { labName, whyNoLab } from './world.ts';

const root = packageRoot();
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

/** Commands of the fenced blocks, without the comments behind them. */
const fenced = [...readme.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
  block
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== ''),
);

/** Everything between single backticks that is a command or a file of the checkout. */
const inline = [...readme.matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);

const lab = {
  up: 'npx hadal lab up examples/bookshop --keep',
  status: 'npx hadal lab status',
  exec: 'npx hadal lab exec front -- curl -s http://catalog.shop.svc/',
  down: 'npx hadal lab down',
};
const check = 'npx hadal check';
const elsewhere: Readonly<Record<string, string>> = { 'npm run demo': 'test/mesh/demo.test.ts' };

const run = (line: string): Promise<CommandResult> =>
  capture(line.split(' '), { cwd: root, timeoutMs: 60_000 });

const subcommands = [...fenced, ...inline].flatMap((line) => {
  const words = /^(?:npx )?hadal ([a-z-]+(?: (?:up|down|exec|status)\b)?)/.exec(line)?.[1];
  return words === undefined ? [] : [words];
});
const scripts = [...fenced, ...inline].flatMap((line) => {
  const name = /^npm (?:run ([\w:-]+)|(test)\b)/.exec(line);
  return name === null ? [] : [name[1] ?? name[2] ?? ''];
});
const files = [
  ...inline,
  ...[...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, target = '']) => target),
].flatMap(
  (line) => /^(?:bash )?((?:scripts|docs|examples|bench|\.ci)\/[\w./-]+|[A-Z]+\.md)/.exec(line)?.[1] ?? [],
);

describe('the README', () => {
  it('has no command that is not run here or listed with the test that runs it', () => {
    expect([...fenced].sort()).toEqual([...Object.values(lab), check, ...Object.keys(elsewhere)].sort());
    for (const test of Object.values(elsewhere)) expect(existsSync(join(root, test)), test).toBe(true);
  });

  it('names npm scripts that exist', () => {
    expect(scripts.length).toBeGreaterThan(8);
    for (const name of scripts) expect(Object.keys(manifest.scripts), name).toContain(name);
  });

  it('names files that exist, and scripts that can be run', () => {
    expect(files).toEqual(expect.arrayContaining(['scripts/setup', '.ci/run', 'ARCHITECTURE.md']));
    for (const path of files) expect(existsSync(join(root, path)), path).toBe(true);
    const programs = inline.filter(
      (text) => /^scripts\/[\w-]+$/.test(text) && text !== 'scripts/apt-packages',
    );
    for (const path of programs)
      expect(() => accessSync(join(root, path), constants.X_OK), path).not.toThrow();
  });

  it.each([...new Set(subcommands)])('names a command that has help: hadal %s', async (words) => {
    const help = await run(`npx hadal ${words} --help`);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain(`Usage: hadal ${words}`);
  });

  it('names options of the bench that it has', () => {
    const example = /`-- (--rows REGEX --json FILE)`/.exec(readme)?.[1] ?? '';
    expect(parseBenchOptions(example.split(' '))).toMatchObject({ rows: /REGEX/, json: 'FILE' });
  });
});

describe.skipIf(whyNoLab !== undefined)('the commands of the README', () => {
  const name = labName();
  let up: ChildProcess;
  let said = '';
  let ended: Promise<number | null>;

  /** The command with the name of the test's own lab. */
  const named = (line: string): string => line.replace(/( lab (?:up|status|exec|down))/, `$1 --name ${name}`);

  beforeAll(async () => {
    const [program = '', ...args] = named(lab.up).split(' ');
    up = spawn(program, args, { cwd: root });
    ended = new Promise((resolve) => up.once('exit', resolve));
    for (const stream of [up.stdout, up.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    }
    await vi.waitFor(() => expect(said).toContain(`lab ${name} is up: 5 pods on 2 nodes`), 40_000);
  });

  afterAll(async () => {
    await run(named(lab.down));
    up.kill('SIGKILL');
  });

  it('say what this machine has', async () => {
    const { code, stdout } = await run(check);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok .*an agent can run here/s);
  });

  it('tell of the lab that is up', async () => {
    const { code, stdout } = await run(named(lab.status));
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`lab ${name}: up`));
    expect(stdout).toMatch(/shop\/front +a +\S+ \S+ +meshed, ready/);
  });

  it('reach a service from a pod', async () => {
    const front = readLab(name)?.pods.find((pod) => pod.name === 'front')?.addresses ?? [];
    await vi.waitFor(async () => {
      const { code, stdout } = await run(named(lab.exec));
      expect(code).toBe(0);
      expect(front).toContain((JSON.parse(stdout) as { seen: string }).seen);
    }, 10_000);
  });

  it('leave nothing behind', async () => {
    expect(await run(named(lab.down))).toMatchObject({ code: 0, stdout: `lab ${name} is down\n` });
    expect(await ended).toBe(0);
    expect(readLab(name)).toBeUndefined();
  });
});
