/**
 * Keeps an agent from being rolled back by a replica that has seen less than what is in force; see generation.ts. A cluster whose
 * API server was restored from a backup counts anew, and no replica will ever have seen as much: when for a long time nobody else
 * has answered, what there is counts.
 */
import { HadalError } from '../base/errors.ts';
import {
  describeBehind,
  formatGeneration,
  type Generation,
  isBehind,
  isOfOtherLineage,
  laterGeneration,
  neededOf,
  parseGeneration,
} from './generation.ts';

/** For how long nobody but those that are behind has answered. Times are milliseconds since 1970. */
export interface BehindStatus {
  readonly since: number;
  /** What they tell is taken from then on. */
  readonly acceptedAt: number;
}

/** Who was not heard for so long was away; that says nothing of how much it has seen. */
const longestSilenceMs = 60_000;

export class GenerationGuard {
  readonly #patienceMs: number;
  readonly #now: () => number;
  /** What a replica must have seen. */
  #needed: Generation | undefined;
  #behind: { readonly since: number; heardAt: number } | undefined;

  constructor(kept: string, patienceMs: number, now: () => number = Date.now) {
    this.#needed = parseGeneration(kept);
    this.#patienceMs = patienceMs;
    this.#now = now;
  }

  /** For control planes, and for the disk; '' where nothing was ever told. */
  get text(): string {
    return this.#needed === undefined ? '' : formatGeneration(this.#needed);
  }

  get behind(): BehindStatus | undefined {
    const since = this.#behind?.since;
    return since === undefined ? undefined : { since, acceptedAt: since + this.#patienceMs };
  }

  /** Throws ERR_XDS_BEHIND for the state of a replica that has not seen what is in force here, or saw something else. */
  check(text: string): void {
    const generation = parseGeneration(text);
    const needed = this.#needed;
    if (needed !== undefined && isOfOtherLineage(generation, needed)) {
      throw this.refuse(
        `it follows another cluster, ${generation?.lineage} there and ${needed.lineage} here`,
      );
    }
    if (isBehind(generation, needed)) throw this.refuse(describeBehind(generation, needed));
    this.#behind = undefined;
  }

  /** A replica has said, or has shown, that it is behind. */
  refuse(why: string): HadalError<'ERR_XDS_BEHIND'> {
    const now = this.#now();
    if (this.#behind === undefined || now - this.#behind.heardAt > longestSilenceMs)
      this.#behind = { since: now, heardAt: now };
    this.#behind.heardAt = now;
    const acceptedAt = new Date(this.#behind.since + this.#patienceMs).toISOString();
    return new HadalError(
      'ERR_XDS_BEHIND',
      `this replica is behind what is in force: ${why}. What is in force stays, and other replicas are asked. ` +
        `If no other answers, as after a restore of the cluster from a backup, it is accepted at ${acceptedAt}; ` +
        'sooner if the agent is started with a smaller HADAL_XDS_BEHIND_PATIENCE',
    );
  }

  /** True once, when it is time to take what there is: from then on nothing is behind until something came in force. */
  giveUp(): boolean {
    if (this.#behind === undefined) return false;
    const now = this.#now();
    const { since, heardAt } = this.#behind;
    if (now - since < this.#patienceMs || now - heardAt > longestSilenceMs) return false;
    this.#behind = undefined;
    this.#needed = undefined;
    return true;
  }

  /** What these replicas had seen is in force. */
  inForce(texts: readonly string[]): void {
    for (const text of texts) {
      const generation = parseGeneration(text);
      if (generation !== undefined) this.#needed = laterGeneration(this.#needed, neededOf(generation));
    }
  }
}
