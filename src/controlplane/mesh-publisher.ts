/**
 * What a source tells becomes a change of the mesh: gathered until it is quiet for a moment, translated, and handed to everybody
 * who follows, together with the snapshot that it makes.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { isEmptyChange, type MeshChange } from '../model/change.ts';
import { emptySnapshot, type MeshSnapshot } from '../model/snapshot.ts';
import { updateSnapshot } from '../model/update.ts';
import type { ObjectChange } from '../source/object-source.ts';
import type { Generation } from '../xds/generation.ts';
import type { LookKey } from './looks.ts';
import type { MeshTranslation } from './mesh-translation.ts';

/** Called in turn, with the change, what it made of the mesh, and how much the source had seen of which it was made. */
export type MeshFollower = (change: MeshChange, snapshot: MeshSnapshot, seen: Generation | undefined) => void;

export interface MeshPublisherOptions {
  readonly translation: MeshTranslation;
  readonly followers: readonly MeshFollower[];
  readonly logger: Logger;
  /** How much the source has seen. */
  readonly seen?: () => Generation | undefined;
  /** Something was seen that changes nothing in the mesh. */
  readonly onSeen?: (seen: Generation) => void;
  /** Changes so close together are one. Default 5. */
  readonly quietMs?: number;
  /** No change waits longer for quiet. Default 100. */
  readonly longestMs?: number;
}

/** Nothing else gets a turn for so long at most while a large mesh is translated. */
const sliceMs = 20;

export class MeshPublisher implements Closeable {
  readonly #options: MeshPublisherOptions & { readonly quietMs: number; readonly longestMs: number };
  #snapshot: MeshSnapshot = emptySnapshot;
  #timer: NodeJS.Timeout | undefined;
  /** When the oldest change that waits came. */
  #waitingSince: number | undefined;
  #working: Promise<void> = Promise.resolve();
  #isClosed = false;
  #isPublishing = false;
  #pushes = { count: 0, totalMs: 0, lastMs: 0 };

  constructor(options: MeshPublisherOptions) {
    this.#options = { quietMs: 5, longestMs: 100, ...options };
  }

  get snapshot(): MeshSnapshot {
    return this.#snapshot;
  }
  /** Changes handed to the followers, and the time from the oldest object of each until they had it. */
  get pushes(): { readonly count: number; readonly totalMs: number; readonly lastMs: number } {
    return this.#pushes;
  }

  /** Returns which looks see something else now. */
  onChange(change: ObjectChange): ReadonlySet<LookKey> {
    const touched = this.#options.translation.apply(change);
    const now = performance.now();
    this.#waitingSince ??= now;
    const { quietMs, longestMs } = this.#options;
    const delayMs = Math.min(quietMs, Math.max(0, this.#waitingSince + longestMs - now));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), delayMs);
    return touched;
  }

  /** Publishes what waits, now. Resolves when the followers have it. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#working = this.#working.then(async () => {
      this.#isPublishing = true;
      await this.#publish();
      this.#isPublishing = false;
    });
    return this.#working;
  }

  /** Tells how much was seen, unless some of that has still to be published. */
  tellSeen(): void {
    if (this.#waitingSince !== undefined || this.#isPublishing) return;
    const seen = this.#options.seen?.();
    if (seen !== undefined) this.#options.onSeen?.(seen);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  async #publish(): Promise<void> {
    const since = this.#waitingSince ?? performance.now();
    this.#waitingSince = undefined;
    const { translation, followers, logger, onSeen } = this.#options;
    // Before the work: what is seen during it may not be in what comes out.
    const seen = this.#options.seen?.();
    // What comes in between is translated with the rest: the mesh is only shown whole.
    while (!translation.work(performance.now() + sliceMs)) {
      await nextTurn();
      if (this.#isClosed) return;
    }
    const change = translation.take();
    if (isEmptyChange(change)) {
      if (seen !== undefined) onSeen?.(seen);
      return;
    }
    this.#snapshot = updateSnapshot(this.#snapshot, change).snapshot;
    for (const follow of followers) follow(change, this.#snapshot, seen);
    const lastMs = performance.now() - since;
    this.#pushes = { count: this.#pushes.count + 1, totalMs: this.#pushes.totalMs + lastMs, lastMs };
    logger.info({ ...counts(change), ms: Math.round(lastMs) }, 'the mesh changed');
  }
}

/** How much of each kind, where there is any. */
function counts(change: MeshChange): Record<string, number> {
  const all = Object.entries(change).flatMap(([kind, { upserts, removals }]) => [
    [kind, upserts.length] as const,
    [`${kind}Removed`, removals.length] as const,
  ]);
  return Object.fromEntries(all.filter(([, count]) => count > 0));
}
