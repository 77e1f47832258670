import { HadalError } from './errors.ts';

/** The error of a step that was given up because `signal` fired; `step` says which ("waiting for the first snapshot"). */
export function abortedError(signal: AbortSignal, step: string): HadalError<'ERR_ABORTED'> {
  const reason: unknown = signal.reason;
  const why = reason instanceof Error ? reason.message : String(reason);
  return new HadalError('ERR_ABORTED', `${step}: given up: ${why}`, { cause: reason });
}

export function throwIfAborted(signal: AbortSignal | undefined, step: string): void {
  if (signal?.aborted === true) throw abortedError(signal, step);
}

/**
 * Waits for `promise`, but no longer than until `signal` fires. What arrives later is handed to `giveBack`, so that a
 * connection or a file opened too late is not lost; a late failure is silent.
 */
export async function waitOrAbort<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  step: string,
  giveBack?: (late: T) => void,
): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortedError(signal, step));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  let given = false;
  promise.then(
    (value) => {
      if (given) giveBack?.(value);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, aborted]);
  } catch (error) {
    given = true;
    throw error;
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}

/** Resolves after `ms`, rejects with ERR_ABORTED when `signal` fires first. Keeps the process alive unless `unref`. */
export async function sleep(
  ms: number,
  signal?: AbortSignal,
  options: { readonly unref?: boolean; readonly step?: string } = {},
): Promise<void> {
  const step = options.step ?? `sleeping ${ms} ms`;
  throwIfAborted(signal, step);
  let timer: NodeJS.Timeout | undefined;
  try {
    await waitOrAbort(
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms);
        if (options.unref === true) timer.unref();
      }),
      signal,
      step,
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A signal that fires after `ms` or with one of `others`. Its timer keeps no process alive. Call `clear` when done: it
 * frees the timer early.
 */
export function deadline(
  ms: number,
  what: string,
  ...others: readonly (AbortSignal | undefined)[]
): { readonly signal: AbortSignal; readonly clear: () => void } {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new HadalError('ERR_DEADLINE', `${what} did not end within ${ms} ms`));
  }, ms);
  timer.unref();
  const signals = others.filter((signal) => signal !== undefined);
  const signal = signals.length === 0 ? controller.signal : AbortSignal.any([controller.signal, ...signals]);
  return { signal, clear: () => clearTimeout(timer) };
}
