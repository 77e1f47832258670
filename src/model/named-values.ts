import { Map as PersistentMap } from 'immutable';

/**
 * Resources by name, of which a changed copy costs little however many there are. Iterates in the order of names; only the
 * first iteration of a copy pays for the order, reads never do.
 */
export class NamedValues<T> implements ReadonlyMap<string, T> {
  readonly #values: PersistentMap<string, T>;
  #order: readonly string[] | undefined;

  private constructor(values: PersistentMap<string, T>) {
    this.#values = values;
  }

  static empty<T>(): NamedValues<T> {
    return new NamedValues<T>(PersistentMap());
  }

  get size(): number {
    return this.#values.size;
  }

  get(name: string): T | undefined {
    return this.#values.get(name);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** A copy in which the values are these; undefined takes a name out. */
  with(changes: Iterable<readonly [string, T | undefined]>): NamedValues<T> {
    const values = this.#values.withMutations((mutable) => {
      for (const [name, value] of changes) {
        if (value === undefined) mutable.delete(name);
        else mutable.set(name, value);
      }
    });
    return values === this.#values ? this : new NamedValues(values);
  }

  *entries(): MapIterator<[string, T]> {
    for (const name of this.keys()) {
      const value = this.#values.get(name);
      if (value !== undefined) yield [name, value];
    }
  }

  keys(): MapIterator<string> {
    this.#order ??= [...this.#values.keys()].sort();
    return this.#order.values();
  }

  *values(): MapIterator<T> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): MapIterator<[string, T]> {
    return this.entries();
  }

  forEach(callback: (value: T, name: string, all: ReadonlyMap<string, T>) => void, self?: unknown): void {
    for (const [name, value] of this.entries()) callback.call(self, value, name, this);
  }
}
