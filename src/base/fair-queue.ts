/** Work that many ask for and that is done a few at a time: in turn by who asks, so that whoever asks for much waits for himself. */
import { HadalError } from './errors.ts';

export interface FairQueueLimits {
  /** Jobs at a time. */
  readonly parallel: number;
  /** Jobs that wait, all askers together. */
  readonly waiting: number;
  /** Of one asker: waiting and under way. */
  readonly perAsker: number;
}

interface Waiting {
  readonly start: () => void;
}

export class FairQueue {
  readonly #limits: FairQueueLimits;
  /** By asker; who comes first has the next turn. */
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #held = new Map<string, number>();
  #waitingCount = 0;
  #running = 0;

  constructor(limits: FairQueueLimits) {
    this.#limits = limits;
  }

  get running(): number {
    return this.#running;
  }
  get waiting(): number {
    return this.#waitingCount;
  }

  /**
   * Does the job when it has its turn. Rejects with ERR_QUEUE_FULL at once where there is no room to wait; a job whose `signal`
   * fires while it waits is not done.
   */
  async run<T>(asker: string, job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { waiting, perAsker, parallel } = this.#limits;
    const held = this.#held.get(asker) ?? 0;
    if (held >= perAsker) throw full(`${asker} has ${held} questions open, as many as it may have at a time`);
    if (this.#running >= parallel && this.#waitingCount >= waiting)
      throw full(`${this.#waitingCount} questions wait already`);
    this.#held.set(asker, held + 1);
    try {
      await this.#turn(asker, signal);
      try {
        return await job();
      } finally {
        this.#running -= 1;
        this.#next();
      }
    } finally {
      const left = (this.#held.get(asker) ?? 1) - 1;
      if (left === 0) this.#held.delete(asker);
      else this.#held.set(asker, left);
    }
  }

  /** Resolves with a place taken; rejects with the reason of `signal`, which leaves none behind. */
  #turn(asker: string, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#running < this.#limits.parallel) {
      this.#running += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        const line = this.#waiting.get(asker) ?? [];
        line.splice(line.indexOf(entry), 1);
        if (line.length === 0) this.#waiting.delete(asker);
        this.#waitingCount -= 1;
        reject(signal?.reason);
      };
      const entry: Waiting = {
        start: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      const line = this.#waiting.get(asker);
      if (line === undefined) this.#waiting.set(asker, [entry]);
      else line.push(entry);
      this.#waitingCount += 1;
    });
  }

  #next(): void {
    const [turn] = this.#waiting;
    if (turn === undefined || this.#running >= this.#limits.parallel) return;
    const [asker, line] = turn;
    // Behind the others: its next one waits until all of them had a turn.
    this.#waiting.delete(asker);
    const entry = line.shift();
    if (line.length > 0) this.#waiting.set(asker, line);
    if (entry === undefined) return;
    this.#waitingCount -= 1;
    this.#running += 1;
    entry.start();
  }
}

function full(why: string): HadalError<'ERR_QUEUE_FULL'> {
  return new HadalError('ERR_QUEUE_FULL', `${why}; ask again later`);
}
