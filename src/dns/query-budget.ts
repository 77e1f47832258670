/** What one pod may ask: its resolver shares the agent's main thread with those of all others. */
const perSecond = 5_000;
const burst = 10_000;

export class QueryBudget {
  #left = burst;
  #filledAt = performance.now();

  /** False: the query is dropped; the pod's own resolver asks again. */
  take(now = performance.now()): boolean {
    this.#left = Math.min(burst, this.#left + ((now - this.#filledAt) * perSecond) / 1000);
    this.#filledAt = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
