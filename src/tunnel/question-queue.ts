/** Questions per second that one asker may go on asking, and how many it may ask at once. */
export interface QuestionRate {
  readonly perSecond: number;
  readonly burst: number;
}

interface Asker<Q> {
  readonly key: string;
  waiting: Q[];
  tokens: number;
  refilledAt: number;
}

/**
 * Questions wait here in turn, asker by asker, and each asker has a rate: one that scans ports waits behind itself, and
 * leaves the workers' and this thread's time to its neighbours.
 */
export class QuestionQueue<Q> {
  readonly #keyOf: (question: Q) => string;
  readonly #rate: QuestionRate;
  /** Those that wait, in the order of their turns. */
  readonly #waiting = new Map<string, Asker<Q>>();
  /** Those that have asked so much that their rate must be remembered. */
  readonly #resting = new Map<string, Asker<Q>>();
  #size = 0;

  constructor(keyOf: (question: Q) => string, rate: QuestionRate) {
    this.#keyOf = keyOf;
    this.#rate = rate;
  }

  get size(): number {
    return this.#size;
  }

  add(question: Q): void {
    const key = this.#keyOf(question);
    const asker = this.#waiting.get(key) ?? this.#wake(key);
    asker.waiting.push(question);
    this.#size++;
  }

  /** Up to `most` questions of the next asker that may ask now; it goes to the end of the line. Empty: nobody may. */
  takeTurn(most: number, now: number): Q[] {
    for (const asker of this.#waiting.values()) {
      this.#refill(asker, now);
      const count = Math.min(most, Math.floor(asker.tokens), asker.waiting.length);
      if (count < 1) continue;
      const taken = asker.waiting.splice(0, count);
      asker.tokens -= count;
      this.#size -= count;
      this.#waiting.delete(asker.key);
      if (asker.waiting.length > 0) this.#waiting.set(asker.key, asker);
      else this.#rest(asker, now);
      return taken;
    }
    return [];
  }

  forget(matches: (question: Q) => boolean): void {
    for (const asker of this.#waiting.values()) {
      const left = asker.waiting.filter((question) => !matches(question));
      this.#size -= asker.waiting.length - left.length;
      asker.waiting = left;
      if (left.length === 0) this.#waiting.delete(asker.key);
    }
  }

  #wake(key: string): Asker<Q> {
    const known = this.#resting.get(key);
    this.#resting.delete(key);
    const asker = known ?? { key, waiting: [], tokens: this.#rate.burst, refilledAt: 0 };
    this.#waiting.set(key, asker);
    return asker;
  }

  /** An asker that rests long enough has its whole burst again, and need not be remembered. */
  #rest(asker: Asker<Q>, now: number): void {
    this.#resting.set(asker.key, asker);
    for (const oldest of this.#resting.values()) {
      this.#refill(oldest, now);
      if (oldest.tokens < this.#rate.burst) break;
      this.#resting.delete(oldest.key);
    }
  }

  #refill(asker: Asker<Q>, now: number): void {
    const more = ((now - asker.refilledAt) * this.#rate.perSecond) / 1000;
    asker.tokens = Math.min(this.#rate.burst, asker.tokens + more);
    asker.refilledAt = now;
  }
}
