import { HadalError } from '../base/errors.ts';

/** What is done for one pod is done one after the other; different pods at the same time. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();
  #ended = false;

  get ended(): boolean {
    return this.#ended;
  }

  async take<T>(uid: string, act: () => Promise<T>): Promise<T> {
    if (this.#ended) throw new HadalError('ERR_DRAINING', 'the agent is ending; ask the next one');
    const turn = (this.#last.get(uid) ?? Promise.resolve()).catch(() => {}).then(act);
    this.#last.set(uid, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(uid) === turn) this.#last.delete(uid);
    }
  }

  /** Gives no more turns, and waits for those that were given. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.allSettled(this.#last.values());
  }
}
