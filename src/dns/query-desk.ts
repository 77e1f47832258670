/**
 * Decides queries one after the other, as long as there is time for them: they share the agent's main thread with all else that
 * it does. What waits meanwhile waits natively, where each pod has its fair share, and what is too much is dropped.
 */
import type { AskedName, NameService } from '../native/types.ts';

/** A tenth of a core. Short, so that a quiet pod waits little when others have used the time up. */
const windowMs = 20;
const budgetMs = 2;

export class QueryDesk {
  readonly #take: NameService['take'];
  readonly #decide: (asked: AskedName) => void;
  #windowEnd = 0;
  #leftMs = 0;
  #spentMs = 0;
  #totalMs = 0;
  #pause: NodeJS.Timeout | undefined;

  /** `decide` never throws. */
  constructor(take: NameService['take'], decide: (asked: AskedName) => void) {
    this.#take = take;
    this.#decide = decide;
  }

  /** Time of the main thread that all queries have cost. */
  get totalMs(): number {
    return this.#totalMs;
  }

  /** Something waits. */
  wake(): void {
    if (this.#pause === undefined) this.#work();
  }

  close(): void {
    clearTimeout(this.#pause);
  }

  #work(): void {
    let now = performance.now();
    if (now >= this.#windowEnd) {
      this.#windowEnd = now + windowMs;
      this.#leftMs = budgetMs;
    }
    while (this.#leftMs > 0) {
      const asked = this.#take(Math.ceil(this.#spentMs * 1000));
      this.#spentMs = 0;
      if (asked === undefined) return;
      this.#decide(asked);
      const then = performance.now();
      this.#spentMs = then - now;
      this.#totalMs += this.#spentMs;
      this.#leftMs -= this.#spentMs;
      now = then;
    }
    this.#pause = setTimeout(
      () => {
        this.#pause = undefined;
        this.#work();
      },
      Math.max(1, this.#windowEnd - now),
    );
    this.#pause.unref();
  }
}
