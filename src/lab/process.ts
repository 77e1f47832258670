/**
 * Programs started inside a lab: in a cgroup of the lab from their first instruction, then in the network namespace,
 * and for pods in the mount namespace and without privileges.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { netnsPath } from './layout.ts';
import { unprivileged } from './pod-root.ts';

/** Where a program runs. */
export interface Place {
  readonly cgroup: string;
  readonly netns: string;
  /** A process whose mount namespace is entered (a pod's sleeping process). */
  readonly mountsOf?: number;
  /** Without it the program stays root with all capabilities. */
  readonly uid?: number;
}

/** argv that puts itself into the cgroup first and then becomes the program. */
export function placed(place: Place, argv: readonly string[]): string[] {
  const enter = ['nsenter', `--net=${netnsPath(place.netns)}`];
  if (place.mountsOf !== undefined) enter.push(`--mount=/proc/${place.mountsOf}/ns/mnt`);
  const drop = place.uid === undefined ? [] : ['setpriv', ...unprivileged(place.uid)];
  // "$@" keeps the words of argv apart; nothing of it is read by the shell.
  return [
    'sh',
    '-c',
    'echo 0 > "$0" && exec "$@"',
    join(place.cgroup, 'cgroup.procs'),
    ...enter,
    '--',
    ...drop,
    ...argv,
  ];
}

export function spawnPlaced(
  place: Place,
  argv: readonly string[],
  options: { env: NodeJS.ProcessEnv; stdio?: 'pipe' | 'inherit'; detached?: boolean },
): ChildProcess {
  const [program, ...args] = placed(place, argv);
  return spawn(program ?? 'sh', args, {
    env: options.env,
    stdio: options.stdio ?? 'pipe',
    detached: options.detached,
  });
}

/** A process, told apart from a later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot. */
  readonly startTime: number;
}

export function processIdentity(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything; the fields after it are plain. Field 22 is the start time.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, startTime: Number(fields[19]) };
  } catch {
    return undefined;
  }
}

export function isAlive(known: ProcessIdentity): boolean {
  return processIdentity(known.pid)?.startTime === known.startTime;
}

export function ownIdentity(): ProcessIdentity {
  const own = processIdentity(process.pid);
  if (own === undefined)
    throw new HadalError('ERR_LAB_PROC', 'cannot read /proc/self/stat; is /proc mounted?');
  return own;
}
