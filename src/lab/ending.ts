import { HadalError } from '../base/errors.ts';

/** How to take down what stands so far, last things first. */
export class Ending {
  readonly #steps: (() => void | Promise<void>)[] = [];
  #begun = false;

  get begun(): boolean {
    return this.#begun;
  }

  undo(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** All steps, also when some of them fail: an agent that does not end must not leave the namespaces behind. */
  async run(): Promise<void> {
    this.#begun = true;
    const errors: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 0) return;
    const why = errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ');
    throw new HadalError('ERR_LAB_END', `the lab is down, but not all of it went well: ${why}`, {
      cause: errors[0],
    });
  }
}
