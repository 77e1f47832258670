import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** A checkout in small: the scripts under test with a build directory of their own. */
let checkout = '';

beforeAll(() => {
  checkout = mkdtempSync(join(tmpdir(), 'hadal-tally-'));
  cpSync(join(root, 'scripts'), join(checkout, 'scripts'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
  writeFileSync(join(checkout, 'package.json'), '{"type":"module"}');
});

afterAll(() => rmSync(checkout, { recursive: true, force: true }));

function tally(
  args: readonly string[],
  env: Record<string, string> = {},
): { status: number | null; last: string } {
  const { status, stdout } = spawnSync(process.execPath, ['scripts/tally.js', ...args], {
    cwd: checkout,
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', ...env },
  });
  return { status, last: stdout.trimEnd().split('\n').at(-1) ?? '' };
}

it('adds up what the runners counted and ends with the one line', () => {
  tally(['clear']);
  tally(['add', 'vitest', '10', '0', '2']);
  tally(['add', 'native', '5', '0', '0']);
  expect(tally(['sum'])).toEqual({ status: 0, last: '15 passed, 0 failed, 2 skipped' });
});

it('fails on skips where they are forbidden', () => {
  expect(tally(['sum'], { HADAL_NO_SKIPS: '1' })).toEqual({
    status: 1,
    last: '15 passed, 0 failed, 2 skipped',
  });
});

it('fails on a failure, and when nothing ran at all', () => {
  tally(['add', 'demo', '0', '1', '0']);
  expect(tally(['sum'])).toEqual({ status: 1, last: '15 passed, 1 failed, 2 skipped' });
  tally(['clear']);
  expect(tally(['sum'])).toEqual({ status: 1, last: '0 passed, 0 failed, 0 skipped' });
});

it("counts a sanitizer's abort as a failure though every test passed", () => {
  mkdirSync(join(checkout, 'build'), { recursive: true });
  const report = join(checkout, 'build', 'gtest.json');
  const tests = [
    { name: 'Passes', result: 'COMPLETED' },
    { name: 'Skips', result: 'SKIPPED' },
  ];
  writeFileSync(report, JSON.stringify({ testsuites: [{ name: 'Pool', testsuite: tests }] }));
  const count = (path: string, status: string) =>
    execFileSync(process.execPath, ['scripts/tally-gtest.js', path, 'native', status], { cwd: checkout });
  tally(['clear']);
  count(report, '0');
  expect(tally(['sum'])).toEqual({ status: 0, last: '1 passed, 0 failed, 1 skipped' });
  count(report, '66');
  expect(tally(['sum'])).toEqual({ status: 1, last: '1 passed, 1 failed, 1 skipped' });
  count(join(checkout, 'no-such-report'), '139');
  expect(tally(['sum'])).toEqual({ status: 1, last: '0 passed, 1 failed, 0 skipped' });
});

it('takes node_modules for current only when it holds what the lock file says', () => {
  const isCurrent = () =>
    spawnSync(process.execPath, ['scripts/dependencies-current.js'], { cwd: checkout }).status === 0;
  const lock = (version: string) =>
    writeFileSync(
      join(checkout, 'package-lock.json'),
      JSON.stringify({ packages: { '': {}, 'node_modules/zod': { version } } }),
    );
  lock('0.0.1');
  expect(isCurrent()).toBe(false);
  const zod = execFileSync(process.execPath, ['-p', "require('zod/package.json').version"], {
    cwd: checkout,
    encoding: 'utf8',
  });
  lock(zod.trim());
  expect(isCurrent()).toBe(true);
});
