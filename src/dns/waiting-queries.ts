/**
 * Queries of a pod that the mesh state has not heard of yet, as happens when it has just been made. They wait for it together:
 * the next mesh state that knows the pod answers them all, and without one each is refused in its time.
 */
import type { AskedName } from '../native/types.ts';

const waitMs = 2_000;
const most = 64;

export class WaitingQueries {
  readonly #answer: (asked: AskedName) => void;
  #waiting: { readonly asked: AskedName; readonly until: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `answer` says what can be said now. */
  constructor(answer: (asked: AskedName) => void) {
    this.#answer = answer;
  }

  get size(): number {
    return this.#waiting.length;
  }

  add(asked: AskedName): void {
    if (this.#waiting.length >= most) {
      this.#answer(asked);
      return;
    }
    this.#waiting.push({ asked, until: performance.now() + waitMs });
    this.#timer ??= this.#timerFor(waitMs);
  }

  /** The pod is known now, or never will be. */
  release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { asked } of this.#waiting.splice(0)) this.#answer(asked);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  #expire(): void {
    const now = performance.now();
    const fresh = this.#waiting.findIndex(({ until }) => until > now);
    const old = this.#waiting.splice(0, fresh < 0 ? this.#waiting.length : fresh);
    const first = this.#waiting[0];
    this.#timer = first === undefined ? undefined : this.#timerFor(first.until - now);
    for (const { asked } of old) this.#answer(asked);
  }

  #timerFor(ms: number): NodeJS.Timeout {
    // A timer may come a moment before its time.
    return setTimeout(() => this.#expire(), ms + 1).unref();
  }
}
