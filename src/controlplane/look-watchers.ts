import type { LookKey } from './looks.ts';

/** Who looked where: what has to be made again when something else is seen there. */
export class LookWatchers {
  readonly #watchers = new Map<LookKey, Set<LookKey>>();

  of(look: LookKey): Iterable<LookKey> {
    return this.#watchers.get(look) ?? [];
  }

  /** What `key` looked at now instead of before. */
  replace(key: LookKey, before: ReadonlySet<LookKey>, next: ReadonlySet<LookKey>): void {
    for (const each of before) {
      if (next.has(each)) continue;
      const watchers = this.#watchers.get(each);
      watchers?.delete(key);
      if (watchers?.size === 0) this.#watchers.delete(each);
    }
    for (const each of next) {
      if (before.has(each)) continue;
      const watchers = this.#watchers.get(each);
      if (watchers === undefined) this.#watchers.set(each, new Set([key]));
      else watchers.add(key);
    }
  }
}
