import { mkdirSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { NativeBpf } from '../native/types.ts';

/** Loads an object and lets go of it. */
export function probeLoad(native: NativeBpf, path: string): string {
  const object = native.openObject(path);
  try {
    object.load();
    return `${basename(path)} passed the verifier`;
  } finally {
    object.close();
  }
}

/** Loads an object and attaches its program to a cgroup made for the purpose, which holds no process. */
export function probeCgroupAttach(native: NativeBpf, path: string, parent: string | undefined): string {
  if (parent === undefined) throw new HadalError('ERR_KERNEL_REQUIREMENT', 'no cgroup v2 is mounted');
  const cgroup = join(parent, `hadal-check-${process.pid}`);
  const object = native.openObject(path);
  mkdirSync(cgroup);
  try {
    object.load();
    for (const name of object.programNames) object.program(name).attachCgroup(cgroup).close();
    return `attached to ${cgroup}, and removed`;
  } finally {
    object.close();
    rmdirSync(cgroup);
  }
}
