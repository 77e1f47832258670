import type { MeshChange } from '../model/change.ts';
import type { ResourceVersions } from './versioned-change.ts';

/** A response that was taken over and answered, and is not in force yet. */
export interface Held {
  readonly change: MeshChange;
  readonly versions: ResourceVersions;
  /** As its server named its own state. */
  readonly systemVersion: string;
  readonly absent: readonly string[];
}

export interface PushHoldOptions {
  /** In turn; must not reject. */
  readonly putInForce: (held: readonly Held[]) => Promise<void>;
  /** What is in force must not wait longer for the end of a push that brings it up to date. */
  readonly longestMs: number;
}

/**
 * Responses of a push until its end: half of it may have a service without its endpoints, or lack what a connection is on its way
 * to. Before there ever was a mesh there is nothing better to go by, and it waits for as long as it takes.
 */
export class PushHold {
  readonly #options: PushHoldOptions;
  /** Types of which more follows. */
  readonly #unfinished = new Set<string>();
  #held: Held[] = [];
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();

  constructor(options: PushHoldOptions) {
    this.#options = options;
  }

  /** Resources that wait for the end of a push. */
  get size(): number {
    return this.#held.reduce((sum, { change }) => {
      return (
        sum +
        change.workloads.upserts.length +
        change.services.upserts.length +
        change.policies.upserts.length
      );
    }, 0);
  }

  /** Resolves when it is in force, or when it has to wait. `isComplete`: of every type all was received at some time. */
  async add(typeUrl: string, held: Held, isLast: boolean, isComplete: boolean): Promise<void> {
    this.#held.push(held);
    if (isLast) this.#unfinished.delete(typeUrl);
    else this.#unfinished.add(typeUrl);
    if (!isComplete) return;
    if (this.#unfinished.size === 0) return this.flush();
    this.#timer ??= setTimeout(() => void this.flush(), this.#options.longestMs).unref();
  }

  /** The stream has ended: what would have followed comes with another one, and is another push. */
  async endStream(isComplete: boolean): Promise<void> {
    this.#unfinished.clear();
    if (isComplete) await this.flush();
  }

  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#held;
    this.#held = [];
    if (held.length > 0) this.#working = this.#working.then(() => this.#options.putInForce(held));
    return this.#working;
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
