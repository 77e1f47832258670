/** Questions per second that one asker may go on asking, and how many it may ask at once. */
export interface QuestionRate {
  readonly perSecond: number;
  readonly burst: number;
  /** What a question costs more, in questions, once it has turned out that the answer led nowhere. */
  readonly failureCost: number;
  /** Beyond so many the oldest are forgotten: who asked them has given up. */
  readonly mostWaiting: number;
}

interface Asker<Q> {
  readonly key: string;
  waiting: Q[];
  tokens: number;
  /** Failures heard of, not charged yet. */
  owed: number;
  refilledAt: number;
}

/**
 * Questions wait here in turn, asker by asker, and each asker has a rate: one that scans ports waits behind itself, and
 * leaves the workers' and this thread's time to its neighbours. Failures, of which a scan has little else, count several
 * times, so that its rate is a fraction of what one may ask who finds what it looks for.
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

  /** `failed`: of the asker's questions, how many turned out to lead nowhere since the last one. */
  add(question: Q, failed = 0): void {
    const key = this.#keyOf(question);
    const asker = this.#waiting.get(key) ?? this.#wake(key);
    asker.waiting.push(question);
    this.#size++;
    if (asker.waiting.length > this.#rate.mostWaiting) {
      asker.waiting.shift();
      this.#size--;
    }
    asker.owed += failed * this.#rate.failureCost;
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
    const asker = known ?? { key, waiting: [], tokens: this.#rate.burst, owed: 0, refilledAt: 0 };
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
    const { burst } = this.#rate;
    // A bounded debt: who stops scanning may soon ask again.
    asker.tokens = Math.max(-burst, Math.min(burst, asker.tokens + more) - asker.owed);
    asker.owed = 0;
    asker.refilledAt = now;
  }
}
