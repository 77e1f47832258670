import { sleep } from './abort.ts';

export interface BackoffOptions {
  /** First delay, in ms. Default 100. */
  readonly initialMs?: number;
  /** No delay is longer, in ms. Default 30,000. */
  readonly maxMs?: number;
  /** Each delay is this many times the one before. Default 2. */
  readonly factor?: number;
  /** Share of a delay that is left to chance, 0 to 1, so that a thousand agents do not return together. Default 0.5. */
  readonly jitter?: number;
  /** For tests. */
  readonly random?: () => number;
}

/** Exponential delays with jitter: `next()` after each failure, `reset()` after a success. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#options = {
      initialMs: options.initialMs ?? 100,
      maxMs: options.maxMs ?? 30_000,
      factor: options.factor ?? 2,
      jitter: options.jitter ?? 0.5,
      random: options.random ?? Math.random,
    };
  }

  /** Failures since the last reset. */
  get failures(): number {
    return this.#failures;
  }

  /** Milliseconds to wait before the next attempt; `limitMs` cuts this delay, but not below the first one. */
  next(limitMs: number = this.#options.maxMs): number {
    const { initialMs, maxMs, factor, jitter, random } = this.#options;
    const full = Math.min(maxMs, Math.max(limitMs, initialMs), initialMs * factor ** this.#failures);
    this.#failures += 1;
    return Math.round(full * (1 - jitter * random()));
  }

  reset(): void {
    this.#failures = 0;
  }
}

export interface RetryOptions extends BackoffOptions {
  readonly signal?: AbortSignal;
  /** Give up after so many attempts and throw the last error. Default: never. */
  readonly attempts?: number;
  /** What is tried; part of the message when the signal ends it. */
  readonly step: string;
  /** Called before each wait. Throw from here to give up on an error that no retry can mend. */
  readonly onFailure?: (error: unknown, delayMs: number, attempt: number) => void;
}

/** Runs `attempt` until it succeeds, the signal fires or the attempts are used up. */
export async function retry<T>(attempt: (n: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const backoff = new Backoff(options);
  const attempts = options.attempts ?? Number.POSITIVE_INFINITY;
  for (;;) {
    try {
      return await attempt(backoff.failures + 1);
    } catch (error) {
      const n = backoff.failures + 1;
      if (n >= attempts) throw error;
      const delayMs = backoff.next();
      options.onFailure?.(error, delayMs, n);
      await sleep(delayMs, options.signal, { step: options.step });
    }
  }
}
