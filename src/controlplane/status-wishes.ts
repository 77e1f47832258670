/**
 * What each object's status should say, kept in step with the objects as their translations are: each remembers what it looked
 * at, and is made again when that changes. So a change costs what depends on it, in a mesh of any size.
 */
import type { ObjectId, RejectedObject } from '../source/object-source.ts';
import { LookWatchers } from './look-watchers.ts';
import { type LookKey, look } from './looks.ts';
import type { ObjectStore } from './object-store.ts';
import { type StatusWish, statusOf, type WrittenKind, writtenKinds } from './status-conditions.ts';

const none: ReadonlySet<LookKey> = new Set();

export class StatusWishes {
  readonly #store: ObjectStore;
  readonly #rejected: () => readonly RejectedObject[];
  readonly #watchers = new LookWatchers();
  readonly #looks = new Map<LookKey, ReadonlySet<LookKey>>();
  readonly #stale = new Set<LookKey>();
  #made = 0;

  constructor(store: ObjectStore, rejected: () => readonly RejectedObject[]) {
    this.#store = store;
    this.#rejected = rejected;
  }

  /** Statuses weighed since the start. */
  get made(): number {
    return this.#made;
  }

  /** Everything is to be said anew: the first word of a new writer. */
  begin(): void {
    for (const key of this.#looks.keys()) this.#stale.add(key);
    for (const kind of writtenKinds)
      for (const { metadata } of this.#store.all(kind))
        this.#stale.add(look.object(kind, metadata.namespace, metadata.name));
    this.judged(this.#rejected().flatMap(({ id }) => id ?? []));
  }

  /** Looks that see something else now. */
  changed(touched: ReadonlySet<LookKey>): void {
    for (const key of touched) {
      if (placeOf(key) !== undefined) this.#stale.add(key);
      for (const watcher of this.#watchers.of(key)) this.#stale.add(watcher);
    }
  }

  /** Objects that are bad now, or bad in another way, or no longer. */
  judged(ids: readonly ObjectId[]): void {
    for (const id of ids) {
      const [name = '', namespace = '', kind = ''] = id.split('/').reverse();
      const key = look.object(kind, namespace, name);
      if (placeOf(key) !== undefined) this.#stale.add(key);
    }
  }

  /** What may have changed since the last time; without conditions where nothing is to be said. */
  take(): StatusWish[] {
    const rejected = Map.groupBy(this.#rejected(), ({ id }) => keyOfId(id));
    const stale = [...this.#stale];
    this.#stale.clear();
    return stale.flatMap((key) => {
      const target = placeOf(key);
      if (target === undefined) return [];
      this.#made += 1;
      const looks = new Set<LookKey>();
      const wish = statusOf(
        target,
        this.#store.view((each) => looks.add(each)),
        rejected.get(key) ?? [],
      );
      this.#watchers.replace(key, this.#looks.get(key) ?? none, looks);
      // What is gone is only looked at again when it is back, which touches its own key.
      if (
        wish.conditions.length === 0 &&
        this.#store.find(target.kind, target.namespace, target.name) === undefined
      ) {
        this.#watchers.replace(key, looks, none);
        this.#looks.delete(key);
      } else this.#looks.set(key, looks);
      return wish;
    });
  }
}

/** Undefined for kinds whose status is not written, and for looks at more than one object. */
function placeOf(key: LookKey): StatusWish['target'] | undefined {
  const [kind, namespace, name] = key.split('/');
  const isWritten = (writtenKinds as readonly (string | undefined)[]).includes(kind);
  if (!isWritten || namespace === undefined || name === undefined || name === '*') return undefined;
  return { kind: kind as WrittenKind, namespace, name };
}

function keyOfId(id: ObjectId | undefined): LookKey {
  const [name = '', namespace = '', kind = ''] = (id ?? '').split('/').reverse();
  return look.object(kind, namespace, name);
}
