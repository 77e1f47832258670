/**
 * Names that were asked for, and of which the control plane said that there is nothing. For a while they are still asked for, so
 * that what comes to be is known at once; then a scan of the cluster's ranges is forgotten, here and there.
 */
import type { Closeable } from '../base/lifecycle.ts';
import { absentMs } from '../tunnel/missing-names.ts';

export interface AbsentNamesOptions {
  readonly lookUp: (names: readonly string[]) => void;
  readonly lookAway: (names: readonly string[]) => void;
  readonly isKnown: (name: string) => boolean;
  /**
   * Whether the control plane tells by itself when something gets such a name. Istio's tells changes by the names of resources
   * only, never by the address that somebody asked for.
   */
  readonly isTold: () => boolean;
}

const lookAgainMs = 1_000;

export class AbsentNames implements Closeable {
  readonly #options: AbsentNamesOptions;
  /** When they were absent first, by performance.now(). */
  readonly #since = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AbsentNamesOptions) {
    this.#options = options;
  }

  add(names: Iterable<string>): void {
    const now = performance.now();
    for (const name of names) if (!this.#since.has(name)) this.#since.set(name, now);
    if (this.#since.size === 0) return;
    this.#timer ??= setInterval(() => this.#look(), lookAgainMs).unref();
  }

  /** There was nothing of this name, and it would be known by now, or in a moment, if there were. */
  has(name: string): boolean {
    return this.#since.has(name);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#since.clear();
  }

  /** However many names there are, one request asks for them. */
  #look(): void {
    const { lookUp, lookAway, isKnown, isTold } = this.#options;
    const over = performance.now() - absentMs;
    const again: string[] = [];
    const forgotten: string[] = [];
    for (const [name, since] of this.#since) {
      const isOver = since <= over;
      if (isOver || isKnown(name)) this.#since.delete(name);
      if (isKnown(name)) continue;
      (isOver ? forgotten : again).push(name);
    }
    if (forgotten.length > 0) lookAway(forgotten);
    if (again.length > 0 && !isTold()) {
      // A name that is asked for already is no question to a server.
      lookAway(again);
      lookUp(again);
    }
    if (this.#since.size === 0) this.close();
  }
}
