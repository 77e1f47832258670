/** `hadal lab down`: asks the process that owns a lab to end it, and cleans up itself when that process is gone. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import { isAlive } from './process.ts';
import { findLab, readLab, sweepLocked } from './registry.ts';

const ownerTimeoutMs = 60_000;

/** Resolves with a line about what was done. */
export async function labDown(name: string | undefined): Promise<string> {
  const swept = await sweepLocked();
  if (swept.length > 0 && (name === undefined || swept.includes(name))) {
    return `removed what was left of ${swept.join(', ')}`;
  }
  const lab = findLab(name);
  process.kill(lab.owner.pid, 'SIGTERM');
  const deadline = Date.now() + ownerTimeoutMs;
  while (Date.now() < deadline) {
    if (readLab(lab.name) === undefined) return `lab ${lab.name} is down`;
    if (!isAlive(lab.owner)) {
      await sweepLocked();
      return `lab ${lab.name} is down`;
    }
    await sleep(50);
  }
  throw new HadalError(
    'ERR_LAB_DOWN',
    `process ${lab.owner.pid}, which owns lab ${lab.name}, did not end it within ${ownerTimeoutMs / 1000} s; kill it and run this again`,
  );
}
