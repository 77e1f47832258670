/** CPU profiles and heap snapshots of the running process, in the formats that Chrome's developer tools open. */
import { Session } from 'node:inspector/promises';
import type { Readable } from 'node:stream';
import { getHeapSnapshot } from 'node:v8';
import { sleep } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';

export const profileSeconds = { min: 1, max: 60, default: 10 } as const;

/** Both slow the process down, so there is one at a time. */
let busyWith: string | undefined;

function begin(what: string): () => void {
  if (busyWith !== undefined)
    throw new HadalError('ERR_BUSY', `${busyWith} is being taken; try again when it is done`);
  busyWith = what;
  return () => {
    busyWith = undefined;
  };
}

/** A `.cpuprofile` of the JavaScript thread; native workers are for `perf`. */
export async function cpuProfile(seconds: number, signal: AbortSignal): Promise<string> {
  const done = begin('a CPU profile');
  const session = new Session();
  try {
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    await sleep(seconds * 1000, signal, { step: 'taking a CPU profile' });
    const { profile } = await session.post('Profiler.stop');
    return JSON.stringify(profile);
  } finally {
    session.disconnect();
    done();
  }
}

/** A `.heapsnapshot`, as a stream. Stops the JavaScript thread for about a second per 100 MB; the tunnel goes on. */
export function heapSnapshot(): Readable {
  const done = begin('a heap snapshot');
  try {
    return getHeapSnapshot().once('close', done);
  } catch (error) {
    done();
    throw error;
  }
}
