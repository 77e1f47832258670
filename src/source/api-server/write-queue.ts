/**
 * Writes to the API server, one for each object at most: a newer wish replaces an older one that still waits. Rate-limited, with
 * pauses after failures, and only while writing is allowed.
 */
import { sleep } from '../../base/abort.ts';
import { Backoff } from '../../base/backoff.ts';
import { HadalError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';

export interface WriteQueueOptions {
  /** Writes one object; rejects when it is to be tried again. */
  readonly write: (key: string, signal: AbortSignal) => Promise<void>;
  /** Default 20. */
  readonly perSecond?: number;
  readonly logger: Logger;
}

interface Pending {
  readonly backoff: Backoff;
  /** By performance.now(). */
  notBefore: number;
}

export class WriteQueue {
  readonly #options: Required<WriteQueueOptions>;
  readonly #pending = new Map<string, Pending>();
  #wake: (() => void) | undefined;

  constructor(options: WriteQueueOptions) {
    this.#options = { perSecond: 20, ...options };
  }

  get length(): number {
    return this.#pending.size;
  }

  add(key: string): void {
    this.#pending.delete(key);
    this.#pending.set(key, { backoff: new Backoff({ initialMs: 200, maxMs: 60_000 }), notBefore: 0 });
    this.#wake?.();
  }

  remove(key: string): void {
    this.#pending.delete(key);
  }

  /** Writes until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    const gapMs = 1_000 / this.#options.perSecond;
    while (!signal.aborted) {
      const [key, pending] = this.#next() ?? [];
      if (key === undefined || pending === undefined) {
        await this.#idle(signal);
        continue;
      }
      const pauseMs = pending.notBefore - performance.now();
      if (pauseMs > 0) {
        await this.#idle(signal, pauseMs);
        continue;
      }
      await this.#write(key, pending, signal);
      await sleep(gapMs, signal).catch(() => {});
    }
  }

  /** The one that may go first. */
  #next(): [string, Pending] | undefined {
    let first: [string, Pending] | undefined;
    for (const entry of this.#pending) {
      if (first === undefined || entry[1].notBefore < first[1].notBefore) first = entry;
      if (first[1].notBefore === 0) break;
    }
    return first;
  }

  async #write(key: string, pending: Pending, signal: AbortSignal): Promise<void> {
    try {
      await this.#options.write(key, signal);
      // A wish that came meanwhile is still to be written.
      if (this.#pending.get(key) === pending) this.#pending.delete(key);
    } catch (caught) {
      if (signal.aborted) return;
      const error = HadalError.from(caught, 'ERR_KUBERNETES_WRITE');
      this.#options.logger.warn(
        { error, object: key },
        'writing to the Kubernetes API failed; it is tried again',
      );
      pending.notBefore = performance.now() + pending.backoff.next();
    }
  }

  /** Until there is a new wish, writing ends, or the time is up; nothing of it is left behind. */
  async #idle(signal: AbortSignal, forMs?: number): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    const timer = forMs === undefined ? undefined : setTimeout(wake, forMs);
    this.#wake = wake;
    signal.addEventListener('abort', wake, { once: true });
    await promise;
    clearTimeout(timer);
    signal.removeEventListener('abort', wake);
  }
}
