import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Closeable } from '../base/lifecycle.ts';

/** Long enough for what the start still has to do; the agent may then rest for days. */
const settleMs = 2_000;

/**
 * Gives back what reading modules and the first mesh state took: at rest V8 has no reason to collect by itself, and a third
 * of the agent's private memory would stay in use for nothing.
 */
export function releaseStartupMemory(): Closeable {
  const timer = setTimeout(() => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;
    setFlagsFromString('--no-expose-gc');
    collect({ type: 'major', flavor: 'last-resort' });
  }, settleMs);
  timer.unref();
  return { close: () => clearTimeout(timer) };
}
