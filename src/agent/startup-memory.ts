import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Closeable } from '../base/lifecycle.ts';
import type { NativeAddon } from '../native/types.ts';

/** Long enough for what the start and the first changes of the mesh still have to do; the agent may then rest for days. */
const settleMs = 10_000;

/** V8's own threads go on freeing for a moment after a collection. */
const sweepMs = 1_000;

/**
 * Gives back what reading modules and the first mesh state took: at rest V8 has no reason to collect by itself, and the C
 * library keeps what its threads have freed, so that a third of the agent's private memory would stay in use for nothing.
 */
export function releaseStartupMemory(native: Pick<NativeAddon, 'trimMemory'>): Closeable {
  let timer = setTimeout(() => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;
    setFlagsFromString('--no-expose-gc');
    collect({ type: 'major', flavor: 'last-resort' });
    timer = setTimeout(() => native.trimMemory(), sweepMs);
    timer.unref();
  }, settleMs);
  timer.unref();
  return { close: () => clearTimeout(timer) };
}
