import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hadal } from './terminal.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const fixture = (name: string) => `${root}test/fixtures/${name}`;

describe('hadal analyze', () => {
  it.each([
    ['of manifests in order', ['analyze', fixture('shop')], 'clean', 0],
    ['of mistakes', ['analyze', fixture('mistakes')], 'mistakes', 1],
    ['of mistakes as JSON', ['analyze', fixture('mistakes'), '-o', 'json'], 'mistakes-json', 1],
  ])('%s is as it was agreed', async (_, args, name, status) => {
    const run = await hadal(args);
    await expect(run.out).toMatchFileSnapshot(`golden/analyze/${name}.txt`);
    expect([run.err, run.status]).toEqual(['', status]);
  });

  it('names a directory that is not there', async () => {
    const run = await hadal(['analyze', '/nonexistent']);
    expect([run.status, run.out]).toEqual([1, '']);
    expect(run.err).toContain('cannot read the directory /nonexistent');
  });
});

/** Every way to load an addon ends in an error. */
const withoutAddons = `data:text/javascript,${encodeURIComponent(
  "process.dlopen = (_, file) => { throw new Error('an addon was loaded: ' + file); };",
)}`;
const nobody = 65_534;
const program = `${root}src/cli/main.ts`;
const node = `${root}node_modules/.bin/node`;

/** As nobody where that is possible: root can become nobody, who may not be let into the checkout. */
function asNobody(args: readonly string[]) {
  const user = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  const mayRead = spawnSync('test', ['-r', program], user).status === 0;
  return spawnSync(node, ['--import', withoutAddons, program, ...args], {
    ...(mayRead ? user : {}),
    cwd: root,
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
  });
}

describe('without root and without the addon', { timeout: 60_000 }, () => {
  it.each([
    ['analyze', [fixture('shop')]],
    ['explain', ['shop/front', 'catalog:80', '--directory', fixture('shop')]],
    ['workloads', ['--directory', fixture('shop')]],
    ['services', ['--directory', fixture('shop')]],
    ['policies', ['--directory', fixture('shop')]],
  ])('hadal %s works', (command, args) => {
    const { status, stdout, stderr } = asNobody([command, ...args]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(command === 'analyze' ? 'nothing to say' : 'catalog');
  });

  it('what needs the addon says so: the test can tell', () => {
    const { status, stderr } = asNobody(['check']);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/addon/);
  });
});
