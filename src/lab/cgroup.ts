/**
 * cgroup v2 directories of a lab: `<root>/hadal-<lab>/<node>/{kubelet,system,pods/<pod>}`. A process in them belongs
 * to the lab and to nobody else, so ending what is inside never reaches a stranger's process.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';

/** The cgroup v2 mount: `/sys/fs/cgroup`, or beside the v1 hierarchies (`/sys/fs/cgroup/unified`). */
export function cgroupRoot(mounts = readFileSync('/proc/mounts', 'utf8')): string {
  for (const line of mounts.split('\n')) {
    const [, path, type] = line.split(' ');
    if (type === 'cgroup2' && path !== undefined) return path.replaceAll('\\040', ' ');
  }
  throw new HadalError(
    'ERR_LAB_CGROUP',
    'no cgroup v2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified',
  );
}

export function createCgroup(path: string): void {
  mkdirSync(path, { recursive: true });
}

/** Processes of the cgroup and of those below it. */
export function cgroupProcesses(path: string): number[] {
  if (!existsSync(path)) return [];
  const own = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  return [...own, ...children(path).flatMap(cgroupProcesses)];
}

/** Ends every process in the cgroup and below, and waits until they are gone. */
export async function emptyCgroup(path: string, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (let round = 0; ; round++) {
    const left = cgroupProcesses(path);
    if (left.length === 0) return;
    if (Date.now() > deadline) {
      throw new HadalError(
        'ERR_LAB_CGROUP',
        `processes ${left.join(', ')} in ${path} do not end; are they stuck in the kernel?`,
      );
    }
    if (round % 50 === 0) killInside(path, left);
    await sleep(round < 20 ? 5 : 20);
  }
}

/** Removes an empty cgroup with those below it. */
export function removeCgroup(path: string): void {
  if (!existsSync(path)) return;
  for (const child of children(path)) removeCgroup(child);
  // Threads of a process that has ended hold their cgroup for a moment after cgroup.procs is empty.
  for (let round = 0; ; round++) {
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || round === 200) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

/** Stops all processes inside from running, or lets them go on (a twin lab sleeps while the other is measured). */
export async function freezeCgroup(path: string, frozen: boolean): Promise<void> {
  writeFileSync(join(path, 'cgroup.freeze'), frozen ? '1' : '0');
  const wanted = `frozen ${frozen ? 1 : 0}`;
  for (let round = 0; round < 500; round++) {
    if (readFileSync(join(path, 'cgroup.events'), 'utf8').includes(wanted)) return;
    await sleep(2);
  }
  throw new HadalError('ERR_LAB_CGROUP', `${path} did not become "${wanted}" within a second`);
}

function killInside(path: string, processes: readonly number[]): void {
  const kill = join(path, 'cgroup.kill'); // Linux 5.14
  if (existsSync(kill)) {
    writeFileSync(kill, '1');
    return;
  }
  for (const pid of processes) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // ended meanwhile
    }
  }
}

function children(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name));
}
