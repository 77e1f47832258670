const shownSteps = 8;

/** What a judgement looked at and why it came out so; filled while it is made. */
export class Trace {
  readonly #steps: (string | (() => readonly string[]))[] = [];
  readonly #dependencies = new Set<string>();

  /** One more sentence for the operator. */
  step(text: string): void {
    this.#steps.push(text);
  }

  /** Sentences that are made only when somebody reads them. */
  later(say: () => readonly string[]): void {
    this.#steps.push(say);
  }

  /** Sentences of one kind, of which a large service may have thousands: the first few and how many more there are. */
  steps(texts: readonly string[]): void {
    this.#steps.push(...texts.slice(0, shownSteps));
    if (texts.length > shownSteps) {
      this.#steps.push(`and ${texts.length - shownSteps} more like these`);
    }
  }

  /** The judgement must be made again when this key changes. */
  depend(...keys: readonly string[]): void {
    for (const key of keys) {
      this.#dependencies.add(key);
    }
  }

  get explanation(): readonly string[] {
    return Object.freeze(this.#steps.flatMap((step) => (typeof step === 'string' ? step : step())));
  }

  get dependencies(): readonly string[] {
    return Object.freeze([...this.#dependencies]);
  }
}
