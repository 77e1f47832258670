import { deadline, waitOrAbort } from './abort.ts';
import { HadalError } from './errors.ts';

/**
 * Something that lives until it is closed. `close` may take its time to end work in progress, until `force` fires; then it
 * must end at once. Closing twice is harmless.
 */
export interface Closeable {
  close(force?: AbortSignal): void | Promise<void>;
}

export interface DrainReport {
  /** Names in the order in which they were closed. */
  readonly closed: readonly string[];
  /** Those that had not ended when the deadline passed. */
  readonly overdue: readonly string[];
  readonly errors: readonly HadalError[];
}

export interface DrainOptions {
  readonly deadlineMs: number;
  /** After the deadline, how long each one may take to end by force. Default 1,000. */
  readonly forceMs?: number;
}

/**
 * Owns what a program has started and ends it in reverse order. One deadline holds for all together: what is not closed when it
 * passes gets the force signal, and everything after it is still closed, by force.
 */
export class Lifecycle {
  readonly #owned: { readonly name: string; readonly closeable: Closeable }[] = [];
  readonly #draining = new AbortController();
  #drained: Promise<DrainReport> | undefined;

  /** Fires when the drain begins: take no new work. */
  get signal(): AbortSignal {
    return this.#draining.signal;
  }

  /** Takes over `closeable`. Once the drain has begun it is closed at once and this throws ERR_DRAINING. */
  own<T extends Closeable>(name: string, closeable: T): T {
    if (this.#drained !== undefined) {
      // Nobody waits for it any more; an error here has no one to hear it but the process' last report.
      Promise.resolve(closeable.close(AbortSignal.abort())).catch(() => {});
      throw new HadalError('ERR_DRAINING', `${name} was started while the program was ending`);
    }
    this.#owned.push({ name, closeable });
    return closeable;
  }

  /** The same for a plain function. */
  onClose(name: string, close: Closeable['close']): void {
    this.own(name, { close });
  }

  /** Ends everything in reverse order of `own`. Never rejects; called again it returns the same report. */
  drain(options: DrainOptions): Promise<DrainReport> {
    this.#drained ??= this.#drain(options);
    return this.#drained;
  }

  async #drain({ deadlineMs, forceMs = 1_000 }: DrainOptions): Promise<DrainReport> {
    this.#draining.abort(new HadalError('ERR_DRAINING', 'the program is ending'));
    const closed: string[] = [];
    const overdue: string[] = [];
    const errors: HadalError[] = [];
    const time = deadline(deadlineMs, 'the drain');
    for (const { name, closeable } of this.#owned.reverse()) {
      const result = await closeWithin(name, closeable, time.signal, forceMs);
      if (result.overdue) overdue.push(name);
      if (result.error === undefined) closed.push(name);
      else errors.push(result.error);
    }
    time.clear();
    this.#owned.length = 0;
    return { closed, overdue, errors };
  }
}

async function closeWithin(
  name: string,
  closeable: Closeable,
  force: AbortSignal,
  forceMs: number,
): Promise<{ readonly overdue: boolean; readonly error?: HadalError }> {
  const closing = (async () => closeable.close(force))();
  const outcome = closing.then(
    () => ({ error: undefined }),
    (caught: unknown) => ({ error: HadalError.from(caught, 'ERR_CLOSE', `closing ${name}`) }),
  );
  // The timers of a deadline keep no process alive, but a drain must run to its end.
  const awake = setInterval(() => {}, 1_000);
  try {
    const inTime = await waitOrAbort(outcome, force, name).catch(() => undefined);
    if (inTime !== undefined) return withError(false, inTime.error);
    const last = deadline(forceMs, `closing ${name} by force`);
    const late = await waitOrAbort(outcome, last.signal, `closing ${name}`).catch((error: unknown) => ({
      error: HadalError.from(error, 'ERR_CLOSE'),
    }));
    last.clear();
    return withError(true, late.error);
  } finally {
    clearInterval(awake);
  }
}

function withError(
  overdue: boolean,
  error: HadalError | undefined,
): { readonly overdue: boolean; readonly error?: HadalError } {
  return error === undefined ? { overdue } : { overdue, error };
}
