import { NamedValues } from './named-values.ts';

const none: readonly never[] = Object.freeze([]);

/**
 * An index: under each key the entries of several resources, in the order of the resources' names. A changed copy costs as
 * much as the lists that change are long, however many keys there are.
 */
export class NameLists<T> {
  readonly #lists: NamedValues<readonly T[]>;
  readonly #ownerOf: (entry: T) => string;

  private constructor(lists: NamedValues<readonly T[]>, ownerOf: (entry: T) => string) {
    this.#lists = lists;
    this.#ownerOf = ownerOf;
  }

  static empty<T>(ownerOf: (entry: T) => string): NameLists<T> {
    return new NameLists<T>(NamedValues.empty(), ownerOf);
  }

  get(key: string): readonly T[] {
    return this.#lists.get(key) ?? none;
  }

  with(edits: ListEdits<T>): NameLists<T> {
    if (edits.size === 0) return this;
    const changed = Array.from(edits, ([key, owners]) => [key, this.#edited(key, owners)] as const);
    return new NameLists(this.#lists.with(changed), this.#ownerOf);
  }

  /** Merges the old list, without the entries of those owners, with the entries that they have now. */
  #edited(key: string, owners: ReadonlyMap<string, readonly T[]>): readonly T[] | undefined {
    const ownerOf = this.#ownerOf;
    const arriving = [...owners].sort(([left], [right]) => (left < right ? -1 : 1)).values();
    const merged: T[] = [];
    let next = arriving.next();
    for (const entry of this.get(key)) {
      const owner = ownerOf(entry);
      while (next.value !== undefined && next.value[0] < owner) {
        merged.push(...next.value[1]);
        next = arriving.next();
      }
      if (!owners.has(owner)) merged.push(entry);
    }
    for (; next.value !== undefined; next = arriving.next()) merged.push(...next.value[1]);
    return merged.length === 0 ? undefined : Object.freeze(merged);
  }
}

/** Key, owner, and the owner's entries there from now on. */
export type ListEdits<T> = ReadonlyMap<string, ReadonlyMap<string, readonly T[]>>;

export type KeyedEntry<T> = readonly [key: string, entry: T];

/** Collects what a change of resources does to an index. */
export class ListEditor<T> {
  readonly #edits = new Map<string, Map<string, T[]>>();

  get edits(): ListEdits<T> {
    return this.#edits;
  }

  /** `owner` had entries under the keys of `before`, and has those of `after` now. */
  replace(owner: string, before: Iterable<KeyedEntry<T>>, after: Iterable<KeyedEntry<T>>): void {
    for (const [key] of before) this.#entriesOf(key, owner);
    for (const [key, entry] of after) this.#entriesOf(key, owner).push(entry);
  }

  #entriesOf(key: string, owner: string): T[] {
    let owners = this.#edits.get(key);
    if (owners === undefined) {
      owners = new Map();
      this.#edits.set(key, owners);
    }
    let entries = owners.get(owner);
    if (entries === undefined) {
      entries = [];
      owners.set(owner, entries);
    }
    return entries;
  }
}
