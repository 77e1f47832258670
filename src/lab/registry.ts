/**
 * Which labs run on this machine: one record per lab in /run/hadal-lab, each with the process that owns it. A record
 * whose process is gone is a lab that crashed; it is swept before the next one starts.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { slotCount } from './address-plan.ts';
import { cgroupRoot, emptyCgroup, removeCgroup } from './cgroup.ts';
import { runScript } from './command.ts';
import { type LabLayout, labLayout, netnsDirectory, netnsPrefix, registryDirectory } from './layout.ts';
import { isAlive, ownIdentity, type ProcessIdentity } from './process.ts';

/** What another process needs to find its way into a lab: `hadal lab exec|status|down`. */
export interface LabRecord {
  readonly name: string;
  readonly owner: ProcessIdentity;
  readonly slot: number;
  readonly startedAt: string;
  readonly cgroup: string;
  readonly directory: string;
  readonly ready: boolean;
  readonly nodes: readonly NodeRecord[];
  readonly pods: readonly PodRecord[];
}

export interface NodeRecord {
  readonly name: string;
  readonly netns: string;
  readonly cgroup: string;
  readonly addresses: readonly string[];
  /** Absent in a lab without agents. */
  readonly agent?: { readonly pid: number | undefined; readonly socket: string; readonly log: string };
}

export interface PodRecord {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly netns: string;
  readonly cgroup: string;
  readonly uid: number;
  readonly addresses: readonly string[];
  /** The sleeping process that holds the pod's mount namespace. */
  readonly pause: ProcessIdentity | undefined;
  readonly enrolled: boolean;
  readonly ready: boolean;
  readonly restarts: number;
}

const recordPath = (name: string) => join(registryDirectory, `${name}.json`);

export function readLabs(): LabRecord[] {
  if (!existsSync(registryDirectory)) return [];
  return readdirSync(registryDirectory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => readLab(basename(file, '.json')))
    .filter((record) => record !== undefined);
}

export function readLab(name: string): LabRecord | undefined {
  try {
    return JSON.parse(readFileSync(recordPath(name), 'utf8')) as LabRecord;
  } catch {
    return undefined;
  }
}

export function writeLab(record: LabRecord): void {
  const path = recordPath(record.name);
  writeFileSync(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The lab that a command means: the one named, or the only one that runs. */
export function findLab(name: string | undefined): LabRecord {
  const running = readLabs();
  if (name !== undefined) {
    const found = running.find((lab) => lab.name === name);
    if (found === undefined)
      throw new HadalError('ERR_LAB_UNKNOWN', `no lab ${name} is up; ${listed(running)}`);
    return found;
  }
  const [only, ...others] = running;
  if (only === undefined) {
    throw new HadalError('ERR_LAB_UNKNOWN', 'no lab is up; start one: hadal lab up examples/bookshop --keep');
  }
  if (others.length > 0)
    throw new HadalError('ERR_LAB_UNKNOWN', `several labs are up; take --name: ${listed(running)}`);
  return only;
}

/** Takes a name and a free slot for this process, after sweeping labs whose process is gone. */
export async function claimLab(name: string): Promise<{ record: LabRecord; layout: LabLayout }> {
  const layout = labLayout(name, cgroupRoot());
  mkdirSync(registryDirectory, { recursive: true, mode: 0o711 });
  return await withLock(async () => {
    await sweep();
    const running = readLabs();
    const same = running.find((lab) => lab.name === name);
    if (same !== undefined) {
      throw new HadalError(
        'ERR_LAB_NAME',
        `lab ${name} is up already, owned by process ${same.owner.pid}; take another --name, or: hadal lab down --name ${name}`,
      );
    }
    const taken = new Set(running.map((lab) => lab.slot));
    const slot = Array.from({ length: slotCount }, (_, index) => index).find((index) => !taken.has(index));
    if (slot === undefined)
      throw new HadalError('ERR_LAB_SLOTS', `${slotCount} labs are up; end one: hadal lab down`);
    // A name may have left things without a record (a machine that lost power writes none): start from nothing.
    await removeRemains(layout);
    const record: LabRecord = {
      name,
      owner: ownIdentity(),
      slot,
      startedAt: new Date().toISOString(),
      cgroup: layout.cgroup,
      directory: layout.directory,
      ready: false,
      nodes: [],
      pods: [],
    };
    writeLab(record);
    return { record, layout };
  });
}

/** Removes everything a lab made, then its record. Runs on what is left of a crashed one too. */
export async function removeLab(name: string): Promise<void> {
  await removeRemains(labLayout(name, cgroupRoot()));
  rmSync(recordPath(name), { force: true });
}

/** Labs whose process is gone; returns their names. The lock is held. */
export async function sweep(): Promise<string[]> {
  const dead = readLabs().filter((lab) => !isAlive(lab.owner));
  for (const lab of dead) await removeLab(lab.name);
  return dead.map((lab) => lab.name);
}

export async function sweepLocked(): Promise<string[]> {
  if (!existsSync(registryDirectory)) return [];
  return await withLock(sweep);
}

async function removeRemains(layout: LabLayout): Promise<void> {
  await emptyCgroup(layout.cgroup);
  // Pins first: a copy of the mount in another mount namespace would otherwise keep the BPF links alive.
  removePins(layout.bpffs);
  const spaces = existsSync(netnsDirectory)
    ? readdirSync(netnsDirectory).filter((space) => space.startsWith(netnsPrefix(layout.name)))
    : [];
  if (spaces.length > 0) {
    await runScript(
      `delete the namespaces of ${layout.name}`,
      spaces.map((space) => `ip netns del ${space}`).join('\n'),
    );
  }
  for (const path of mountsUnder(layout.directory)) await runScript(`unmount ${path}`, `umount -l '${path}'`);
  rmSync(layout.directory, { recursive: true, force: true });
  removeCgroup(layout.cgroup);
}

/** Deepest first. */
function mountsUnder(directory: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path === directory || path.startsWith(`${directory}/`))
    .reverse();
}

/** All but the kernel's own `maps.debug` and `progs.debug`, which no one may remove. */
function removePins(bpffs: string): void {
  if (!existsSync(bpffs)) return;
  for (const entry of readdirSync(bpffs, { withFileTypes: true })) {
    if (entry.isDirectory()) rmSync(join(bpffs, entry.name), { recursive: true, force: true });
  }
}

/** Held by a child whose standard input is ours: it lets go when we do, or when we die. */
async function withLock<T>(work: () => Promise<T>): Promise<T> {
  const child = spawn('flock', [join(registryDirectory, '.lock'), 'sh', '-c', 'echo locked; cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`flock ended with ${code}`)));
    });
  } catch (cause) {
    throw new HadalError('ERR_LAB_LOCK', `cannot lock ${registryDirectory}`, { cause });
  }
  try {
    return await work();
  } finally {
    child.stdin.end();
  }
}

const listed = (labs: readonly LabRecord[]) =>
  labs.length === 0 ? 'none is' : `there are: ${labs.map((lab) => lab.name).join(', ')}`;
