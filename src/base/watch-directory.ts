/** Hears of changes in a directory: by inotify where that works, by looking now and then where it does not (NFS, a directory that is replaced). */
import { type FSWatcher, watch } from 'node:fs';
import type { Closeable } from './lifecycle.ts';

export interface WatchOptions {
  /** Quiet time after a change: writers need more than one step. */
  readonly debounceMs: number;
  /** How often to look without having heard anything. Default 10 s. */
  readonly pollMs?: number;
}

/**
 * Calls `look` after changes and now and then; never twice at the same time, and again afterwards when something changed meanwhile.
 * `look` must not reject. Keeps no process alive.
 */
export function watchDirectory(
  directory: string,
  { debounceMs, pollMs = 10_000 }: WatchOptions,
  look: () => Promise<void>,
): Closeable {
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let looking = Promise.resolve();
  let watcher: FSWatcher | undefined;

  const soon = (delayMs: number) => {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => {
      looking = looking.then(look).finally(() => soon(pollMs));
      observe();
    }, delayMs);
    timer.unref();
  };
  const stopObserving = () => {
    watcher?.close();
    watcher = undefined;
  };
  const observe = () => {
    if (watcher !== undefined || closed) return;
    try {
      watcher = watch(directory, { persistent: false }, (event) => {
        // A directory that was replaced is another inode.
        if (event === 'rename') stopObserving();
        soon(debounceMs);
      });
      watcher.on('error', stopObserving);
    } catch {
      // It is not there, or there are too many watches: the next look tries again.
    }
  };
  observe();
  soon(pollMs);
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      stopObserving();
      await looking;
    },
  };
}
