import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { hadal } from './terminal.ts';

const helps = [
  ['--help'],
  ['connections', '--help'],
  ['status', '--help'],
  ['certificates', '--help'],
  ['check', '--help'],
  ['turbo', '--help'],
  ['workloads', '--help'],
  ['services', '--help'],
  ['policies', '--help'],
  ['explain', '--help'],
  ['analyze', '--help'],
  ['lab', '--help'],
  ['lab', 'up', '--help'],
  ['lab', 'status', '--help'],
  ['lab', 'exec', '--help'],
  ['lab', 'down', '--help'],
  ['agent', '--help'],
  ['forget-address', '--help'],
  ['control-plane', '--help'],
  ['control-plane', 'token', '--help'],
];

describe.each(
  helps.map((args) => ({ name: args.filter((word) => word !== '--help').join('-') || 'hadal', args })),
)('help of $name', ({ name, args }) => {
  it('is as it was agreed, ends in examples and leaves with 0', async () => {
    const { out, err, status } = await hadal(args);
    await expect(out).toMatchFileSnapshot(`golden/help-${name}.txt`);
    expect(out).toMatch(/Examples:\n(?: {2}\$ .*\n)+\n?$/);
    expect([err, status]).toEqual(['', 0]);
  });
});

it('`help X` is `X --help`', async () => {
  expect(await hadal(['help', 'connections'])).toEqual(await hadal(['connections', '--help']));
});

it('the version is that of package.json', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  expect(await hadal(['--version'])).toEqual({ out: `${version}\n`, err: '', status: 0 });
});

it.each([
  [['conections'], /unknown command 'conections'\n\(Did you mean connections\?\)/],
  [['connections', '--folow'], /unknown option '--folow'\n\(Did you mean --follow\?\)/],
  [['connections', '-o', 'xml'], /argument 'xml' is invalid\. Allowed choices are table, wide, json/],
  [['connections', 'front'], /too many arguments/],
  [['turbo', 'up'], /'up' is invalid for argument 'word'\. on or off is meant/],
  [['lab', 'up'], /missing required argument 'directory'/],
  [['lab', 'sideways'], /unknown command 'sideways'/],
  [['lab', 'exec', 'front'], /missing required argument 'command'/],
  [['agent', '--pod-range', '10.0.0.0/8'], /Did you mean --pod-ranges\?/],
  [['connections', '--admin', 'ftp://x'], /neither http:\/\/HOST:PORT nor unix:/],
])('%j is not understood, says why and leaves with 2', async (args, message) => {
  const { out, err, status } = await hadal(args);
  expect(err).toMatch(message);
  expect([out, status]).toEqual(['', 2]);
});

it.each([[[]], [['lab']]])(
  '%j without a command prints the help to standard error and leaves with 2',
  async (args) => {
    const { out, err, status } = await hadal(args);
    expect(err).toContain('Usage: hadal');
    expect([out, status]).toEqual(['', 2]);
  },
);

it('an agent that is not there is named, with what to try, and `-o json` says it in JSON', async () => {
  const text = await hadal(['connections', '--admin', 'http://127.0.0.1:1']);
  expect(text.err).toBe(
    'hadal: no agent answers at http://127.0.0.1:1; is one running here? --node, --lab and --admin choose another (ERR_ADMIN)\n',
  );
  expect([text.out, text.status]).toEqual(['', 1]);
  for (const args of [['-o', 'json'], ['-ojson'], ['--output=json']]) {
    const json = await hadal(['certificates', '--admin', 'http://127.0.0.1:1', ...args]);
    expect(JSON.parse(json.err)).toMatchObject({
      error: { code: 'ERR_ADMIN', message: expect.stringContaining('no agent answers') },
    });
    expect([json.out, json.status]).toEqual(['', 1]);
  }
});

it('all mistakes of an agent’s configuration are told at once, before anything starts', async () => {
  const { err, status } = await hadal(['agent', '--pod-ranges', '10.0.0.0/99', '--workers', 'many'], {
    environment: { HADAL_DRAIN_DEADLINE: 'soon' },
  });
  expect(err).toMatch(/podRanges/);
  expect(err).toMatch(/workers/);
  expect(err).toMatch(/HADAL_DRAIN_DEADLINE/);
  expect(err).toContain('(ERR_CONFIG)');
  expect(status).toBe(1);
});

it('a reader that has seen enough does not break the program', async () => {
  const { stdout, stderr } = await promisify(execFile)('sh', [
    '-c',
    `"$0" src/cli/main.ts agent --help | head -1`,
    process.execPath,
  ]);
  expect([stdout, stderr]).toEqual(['Usage: hadal agent [options]\n', '']);
});

it('starts without loading the agent, the lab or the addon', async () => {
  const script = `
    import { runCommandLine } from './src/cli/command-line.ts';
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const terminal = { out() {}, err() {}, environment: {}, interrupted: new AbortController().signal, now: Date.now };
    await runCommandLine(['connections', '--help'], terminal);
    console.log(JSON.stringify(loaded.filter((url) => url.includes('/src/')).map((url) => url.replace(/.*\\/src\\//, ''))));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  const loaded = JSON.parse(stdout) as string[];
  expect(loaded).toContain('cli/connections.ts');
  expect(
    loaded.filter((path) => /^(agent|lab|native|kernel|tunnel|identity|telemetry|runtime)\//.test(path)),
  ).toEqual([]);
});
