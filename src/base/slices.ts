import { setImmediate as nextTurn } from 'node:timers/promises';

/** Long work on the main thread, in slices: between two of them everybody else has their turn. */
export class Slices {
  readonly #sliceMs: number;
  #until: number;

  constructor(sliceMs = 5) {
    this.#sliceMs = sliceMs;
    this.#until = performance.now() + sliceMs;
  }

  /** To be called often: waits only where the slice is over. */
  async pause(): Promise<void> {
    if (performance.now() >= this.#until) await this.yield();
  }

  /** Ahead of, or after, a step that takes long by itself. */
  async yield(): Promise<void> {
    await nextTurn();
    this.#until = performance.now() + this.#sliceMs;
  }
}
