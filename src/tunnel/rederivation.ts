import type { TunnelQuestion } from '../native/types.ts';

/** How long is judged again before the event loop gets its turn. */
const sliceMs = 8;

/** A row that a change may have made wrong; or an open connection whose row is gone: idle, evicted, or a refusal that it survived. */
export type Doubtful =
  | { readonly kind: 'row'; readonly key: string }
  | { readonly kind: 'unheld'; readonly question: TunnelQuestion };

export interface RederivationParts {
  /** Judges what it takes, and takes as long as there is any. */
  readonly judge: (doubtful: Iterable<Doubtful>) => void;
  /** All is judged that changes of these made doubtful. */
  readonly onSettled: (changed: ReadonlySet<string>) => void;
}

/**
 * What is to be judged again. A change of all policies may touch every row of the node, so that is done in slices; what a worker
 * asks for meanwhile is judged at once.
 */
export class Rederivation {
  readonly #parts: RederivationParts;
  readonly #rows = new Set<string>();
  readonly #unheld: TunnelQuestion[] = [];
  #next: NodeJS.Immediate | undefined;
  /** Dependency keys of what changed since all was settled. */
  #changed = new Set<string>();
  #hasNews = false;

  constructor(parts: RederivationParts) {
    this.#parts = parts;
  }

  /** Of a change of what has these names. The first slice is done when this returns. */
  addRows(keys: Iterable<string>, changed: Iterable<string>): void {
    this.#hasNews = true;
    for (const name of changed) this.#changed.add(name);
    for (const key of keys) this.#rows.add(key);
    if (this.#next === undefined) this.#slice();
  }

  addUnheld(questions: readonly TunnelQuestion[]): void {
    this.#unheld.push(...questions);
    if (questions.length > 0 && this.#next === undefined) this.#slice();
  }

  /** Whether the row was doubtful: whoever takes it judges it. */
  takeRow(key: string): boolean {
    return this.#rows.delete(key);
  }

  close(): void {
    clearImmediate(this.#next);
  }

  #slice(): void {
    this.#next = undefined;
    this.#parts.judge(this.#takeUntil(performance.now() + sliceMs));
    if (this.#rows.size + this.#unheld.length > 0) {
      this.#next = setImmediate(() => this.#slice());
    } else if (this.#hasNews) {
      this.#hasNews = false;
      const changed = this.#changed;
      this.#changed = new Set();
      this.#parts.onSettled(changed);
    }
  }

  *#takeUntil(until: number): Generator<Doubtful> {
    for (const key of this.#rows) {
      this.#rows.delete(key);
      yield { kind: 'row', key };
      if (performance.now() >= until) return;
    }
    while (this.#unheld.length > 0 && performance.now() < until) {
      const question = this.#unheld.pop();
      if (question !== undefined) yield { kind: 'unheld', question };
    }
  }
}
