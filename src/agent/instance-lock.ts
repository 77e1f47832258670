import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { NativeAddon } from '../native/types.ts';

/**
 * One agent per instance: two that share pins, listeners' slots and the store of pods would undo each other's work. Held by
 * the kernel, so the lock of a killed agent is free at once.
 */
export function takeInstanceLock(
  native: Pick<NativeAddon, 'lockFile' | 'closeFd'>,
  runtimeDirectory: string,
  instance: string,
): Closeable {
  mkdirSync(runtimeDirectory, { recursive: true, mode: 0o755 });
  const path = join(runtimeDirectory, `agent-${instance}.lock`);
  const fd = native.lockFile(path);
  if (fd === undefined) {
    const holder = readFileSync(path, 'utf8').trim();
    throw new HadalError(
      'ERR_AGENT_RUNNING',
      `an agent of instance ${instance} runs already (pid ${holder || 'unknown'}, ${path}); stop it, or give this one another HADAL_INSTANCE and HADAL_RUNTIME_DIR`,
    );
  }
  writeFileSync(path, `${process.pid}\n`);
  return { close: () => native.closeFd(fd) };
}
