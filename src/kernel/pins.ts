/**
 * Where an agent's maps and links live while no agent runs: `<bpffs>/hadal/<instance>/v<ABI>/`. A directory appears whole
 * or not at all: it is filled under a temporary name and renamed. bpffs allows no dot in a name.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import { MAP_ABI } from './constants.gen.ts';

const temporaryName = /-tmp-(\d+)$/;
const podName = /^(\d+)-(\d+)$/;

/** A pod as its pins name it: index and netns cookie, so pins of a pod that is gone never serve another. */
export interface PinnedPod {
  readonly podIndex: number;
  readonly netnsCookie: bigint;
}

export class Pins {
  readonly instanceDirectory: string;
  readonly directory: string;

  constructor(bpffs: string, instance: string) {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(instance)) {
      throw new HadalError(
        'ERR_KERNEL_PIN',
        `instance '${instance}' must be 1 to 64 letters, digits, '-' and '_': it names a directory in bpffs`,
      );
    }
    this.instanceDirectory = join(bpffs, 'hadal', instance);
    this.directory = join(this.instanceDirectory, `v${MAP_ABI}`);
  }

  get exists(): boolean {
    return existsSync(this.directory);
  }

  map(name: string): string {
    return join(this.directory, 'maps', name);
  }

  /** Links name the cgroup they hang on: attached elsewhere, they are others. */
  link(cgroupId: bigint, name: string): string {
    return join(this.linkDirectory(cgroupId), name);
  }

  linkDirectory(cgroupId: bigint): string {
    return join(this.directory, 'links', String(cgroupId));
  }

  /** The link of turbo's program on its sock map. */
  get turbo(): string {
    return join(this.directory, 'turbo');
  }

  removeTurbo(): void {
    rmSync(this.turbo, { force: true });
  }

  podDirectory({ podIndex, netnsCookie }: PinnedPod): string {
    return join(this.directory, 'pods', `${podIndex}-${netnsCookie}`);
  }

  pods(): PinnedPod[] {
    return listDirectory(join(this.directory, 'pods'))
      .map((name) => podName.exec(name))
      .filter((found) => found !== null)
      .map((found) => ({ podIndex: Number(found[1]), netnsCookie: BigInt(String(found[2])) }));
  }

  /** Directories of links on other cgroups. */
  otherLinkDirectories(cgroupId: bigint): string[] {
    return listDirectory(join(this.directory, 'links'))
      .filter((name) => name !== String(cgroupId))
      .map((name) => join(this.directory, 'links', name));
  }

  /** Directories of other versions of the maps, which still hold their hooks. */
  otherVersions(): string[] {
    return listDirectory(this.instanceDirectory)
      .filter((name) => /^v\d+$/.test(name) && name !== `v${MAP_ABI}`)
      .map((name) => join(this.instanceDirectory, name));
  }

  /** Removes what a process left half made when it ended; unpinning a link detaches it. */
  sweepTemporary(): string[] {
    const swept: string[] = [];
    for (const parent of [
      this.instanceDirectory,
      join(this.directory, 'pods'),
      join(this.directory, 'links'),
    ]) {
      for (const name of listDirectory(parent)) {
        const pid = Number(temporaryName.exec(name)?.[1] ?? Number.NaN);
        if (Number.isNaN(pid) || (pid !== process.pid && isAlive(pid))) continue;
        removeDirectory(join(parent, name));
        swept.push(name);
      }
    }
    return swept;
  }

  remove(): void {
    removeDirectory(this.instanceDirectory);
  }
}

/** Fills a new directory under a temporary name, then gives it its own. Nothing stays when `fill` throws. */
export function createDirectory(path: string, fill: (temporary: string) => void): void {
  const temporary = `${path}-tmp-${process.pid}`;
  removeDirectory(temporary);
  mkdirSync(temporary, { recursive: true, mode: 0o700 });
  try {
    fill(temporary);
    renameSync(temporary, path);
  } catch (error) {
    removeDirectory(temporary);
    throw error;
  }
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

function listDirectory(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
