import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TurboPods } from '../../../src/agent/turbo-pods.ts';
import { silentLogger } from '../../../src/base/logger.ts';

describe('pods that ask for turbo', () => {
  let directory: string;
  let cgroup: string;
  const running: ChildProcess[] = [];
  const admitted = new Set<number>();
  const turbo = {
    admit: (podIndex: number) => void admitted.add(podIndex),
    dismiss: (podIndex: number) => void admitted.delete(podIndex),
    isAttached: true,
    problem: undefined as string | undefined,
    state: 'on' as const,
  };
  /** As the linker of Go leaves it, stripped. */
  let goProgram: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'hadal-turbo-'));
    cgroup = join(directory, 'pod');
    mkdirSync(join(cgroup, 'container'), { recursive: true });
    const section = join(directory, 'section');
    writeFileSync(section, 'Go buildinf:');
    goProgram = join(directory, 'server');
    execFileSync('objcopy', [
      '--strip-all',
      '--add-section',
      `.go.buildinfo=${section}`,
      '/bin/sleep',
      goProgram,
    ]);
  });
  afterAll(() => {
    for (const child of running) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  beforeEach(() => {
    admitted.clear();
    Object.assign(turbo, { isAttached: true, problem: undefined });
  });

  const run = (program: string) => {
    const child = spawn(program, ['60'], { stdio: 'ignore' });
    running.push(child);
    return new Promise<number>((resolve) => child.once('spawn', () => resolve(child.pid ?? 0)));
  };
  const runs = (pids: readonly number[]) => {
    writeFileSync(join(cgroup, 'cgroup.procs'), '');
    writeFileSync(join(cgroup, 'container', 'cgroup.procs'), pids.map((pid) => `${pid}\n`).join(''));
  };
  const start = (allowed = true) => new TurboPods({ turbo, allowed, logger: silentLogger });
  const pod = (over: object = {}) => ({ podIndex: 3, name: 'shop/front', wantsTurbo: true, cgroup, ...over });

  it('take part when the agent allows it and they run something', async () => {
    runs([await run('/bin/sleep')]);
    const pods = start();
    pods.set(pod());
    expect([[...admitted], pods.problemOf(3)]).toEqual([[3], undefined]);
    pods.set(pod({ wantsTurbo: false }));
    expect([...admitted]).toEqual([]);
    pods.set(pod());
    pods.remove(3);
    expect([[...admitted], pods.problemOf(3)]).toEqual([[], undefined]);
    pods.close();
  });

  it('are taken out as soon as one of their programs is seen to be of Go, and let in when it is gone', async () => {
    const [plain, go] = [await run('/bin/sleep'), await run(goProgram)];
    runs([plain]);
    const pods = start();
    pods.set(pod());
    expect([...admitted]).toEqual([3]);
    runs([plain, go]);
    pods.look();
    expect([...admitted]).toEqual([]);
    expect(pods.problemOf(3)).toBe(`${goProgram} (process ${go}) is a Go program, which reads by splice()`);
    runs([plain]);
    pods.look();
    expect([...admitted]).toEqual([3]);
    pods.close();
  });

  it.each([
    ['the agent does not allow it', { allowed: false }, {}, {}, /HADAL_TURBO/],
    [
      'the kernel is not one of those that were tested',
      {},
      { isAttached: false, problem: 'this is Linux 5.4' },
      {},
      /Linux 5\.4/,
    ],
    ['nobody told their cgroup', {}, {}, { cgroup: '' }, /cannot be seen/],
    ['they run nothing yet', {}, {}, { cgroup: '/nowhere' }, /runs nothing yet/],
  ])('take no part when %s', async (_, { allowed = true }: { allowed?: boolean }, state, over, message) => {
    runs([await run('/bin/sleep')]);
    Object.assign(turbo, state);
    const pods = start(allowed);
    pods.set(pod(over));
    expect([...admitted]).toEqual([]);
    expect(pods.problemOf(3)).toMatch(message);
    pods.close();
  });
});
