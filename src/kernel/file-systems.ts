/** Where cgroup v2 and the BPF file system are mounted. Neither has a place that one may rely on. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { relative } from 'node:path';
import { HadalError } from '../base/errors.ts';

export interface Mount {
  readonly type: string;
  readonly path: string;
}

const usualBpffs = '/sys/fs/bpf';

/** The lines of /proc/mounts. */
export function readMounts(text = readFileSync('/proc/mounts', 'utf8')): Mount[] {
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length >= 3)
    .map(([, path, type]) => ({ type: String(type), path: unescapeOctal(String(path)) }));
}

/** cgroup v2: `/sys/fs/cgroup`, or beside the v1 hierarchies (`/sys/fs/cgroup/unified`); undefined when not mounted. */
export function findCgroupRoot(mounts: readonly Mount[] = readMounts()): string | undefined {
  return mounts.find(({ type }) => type === 'cgroup2')?.path;
}

/** The BPF file system, the usual one first; undefined when none is mounted. */
export function findBpffs(mounts: readonly Mount[] = readMounts()): string | undefined {
  const paths = mounts.filter(({ type }) => type === 'bpf').map(({ path }) => path);
  return paths.includes(usualBpffs) ? usualBpffs : paths[0];
}

/**
 * Pins outlive a process only in a BPF file system: mounts one where it belongs when there is none. A path asks for one
 * there, whatever else is mounted elsewhere.
 */
export function ensureBpffs(wanted?: string): string {
  const mounts = readMounts();
  const found = wanted === undefined ? findBpffs(mounts) : isBpffs(mounts, wanted) ? wanted : undefined;
  if (found !== undefined) return found;
  const path = wanted ?? usualBpffs;
  try {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-t', 'bpf', '-o', 'mode=0700', 'bpf', path], { stdio: 'pipe' });
  } catch (cause) {
    throw new HadalError(
      'ERR_KERNEL_BPFFS',
      `no BPF file system is mounted at ${path} and mounting one failed; try: mount -t bpf bpf ${path}`,
      { cause },
    );
  }
  return path;
}

function isBpffs(mounts: readonly Mount[], path: string): boolean {
  return mounts.some((mount) => mount.type === 'bpf' && mount.path === path);
}

export interface CgroupIdentity {
  readonly path: string;
  /** What bpf_get_current_cgroup_id() returns in it. */
  readonly id: bigint;
  /** Its depth below the root, for bpf_get_current_ancestor_cgroup_id(). */
  readonly level: number;
}

/** A cgroup's id is its directory's inode number. */
export function readCgroup(path: string, root = findCgroupRoot()): CgroupIdentity {
  if (root === undefined)
    throw new HadalError(
      'ERR_KERNEL_CGROUP',
      'no cgroup v2 is mounted; try: mount -t cgroup2 none /sys/fs/cgroup',
    );
  const below = relative(root, path);
  if (below.startsWith('..')) {
    throw new HadalError('ERR_KERNEL_CGROUP', `${path} is not below the cgroup v2 mount ${root}`);
  }
  try {
    const { ino } = statSync(path, { bigint: true });
    return { path, id: ino, level: below === '' ? 0 : below.split('/').length };
  } catch (cause) {
    throw HadalError.from(cause, 'ERR_KERNEL_CGROUP', `reading cgroup ${path}`);
  }
}

/** /proc/mounts writes blanks, tabs and backslashes as three octal digits. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
