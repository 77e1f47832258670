/** How urgent a certificate is: a connection waits for it, a pod just came, or nobody waits. */
export const fetchPriorities = ['realtime', 'warmup', 'background'] as const;
export type FetchPriority = (typeof fetchPriorities)[number];

export interface QueuedFetch {
  /** Moves it forward while it still waits; never back. */
  raise(priority: FetchPriority): void;
  /** Takes it out if it still waits. */
  cancel(): void;
}

interface Waiting {
  readonly start: () => Promise<void>;
  priority: FetchPriority;
}

/** Runs at most `parallel` fetches at once, the most urgent first, in the order of arrival among equals. */
export class FetchQueue {
  readonly #parallel: number;
  readonly #waiting: Waiting[] = [];
  #running = 0;

  constructor(parallel: number) {
    this.#parallel = parallel;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** `start` must not reject. */
  add(priority: FetchPriority, start: () => Promise<void>): QueuedFetch {
    const entry: Waiting = { priority, start };
    this.#waiting.push(entry);
    this.#next();
    return {
      raise: (to) => {
        if (fetchPriorities.indexOf(to) < fetchPriorities.indexOf(entry.priority)) entry.priority = to;
      },
      cancel: () => {
        const index = this.#waiting.indexOf(entry);
        if (index >= 0) this.#waiting.splice(index, 1);
      },
    };
  }

  #next(): void {
    while (this.#running < this.#parallel) {
      const entry = this.#takeMostUrgent();
      if (entry === undefined) return;
      this.#running += 1;
      void entry.start().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }

  #takeMostUrgent(): Waiting | undefined {
    for (const priority of fetchPriorities) {
      const index = this.#waiting.findIndex((entry) => entry.priority === priority);
      if (index >= 0) return this.#waiting.splice(index, 1)[0];
    }
    return undefined;
  }
}
