import type { Logger } from '../base/logger.ts';

/** Steps that were done, each with how to undo it. */
export class UndoStack {
  readonly #undo: { readonly step: string; readonly undo: () => void }[] = [];
  readonly #timings: Record<string, number> = {};
  #since = performance.now();

  /** Runs the step; from then on `undo` takes it back. */
  do<T>(step: string, act: () => T, undo?: (result: T) => void): T {
    const result = act();
    this.#lap(step);
    if (undo !== undefined) this.#undo.push({ step, undo: () => undo(result) });
    return result;
  }

  async wait<T>(step: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } finally {
      this.#lap(step);
    }
  }

  /** Milliseconds of each step, for the log. */
  get timings(): Readonly<Record<string, number>> {
    return this.#timings;
  }

  /** Takes back everything, last first; a step that cannot be undone does not keep the others. */
  rollBack(logger: Logger): void {
    for (const { step, undo } of this.#undo.splice(0).reverse()) {
      try {
        undo();
      } catch (err) {
        logger.warn({ err, step }, 'a step of a failed enrolment could not be undone');
      }
    }
  }

  #lap(step: string): void {
    const now = performance.now();
    this.#timings[step] = Math.round((now - this.#since) * 100) / 100;
    this.#since = now;
  }
}
