import type { KnownObject, ObjectKind, ObjectKinds } from '../source/kubernetes/objects.ts';
import type { ClusterIndex } from '../source/translate/view.ts';

/** Objects of one kind under the keys that an index gives them. */
export class StoreIndex {
  readonly kind: ObjectKind;
  readonly #keysOf: (object: KnownObject) => readonly string[];
  readonly #entries = new Map<string, Map<string, KnownObject>>();

  constructor(index: ClusterIndex<ObjectKind>) {
    this.kind = index.kind;
    this.#keysOf = (object) => index.keysOf(object as ObjectKinds[ObjectKind]);
  }

  /** By namespace and name. */
  at(key: string): readonly KnownObject[] {
    const found = this.#entries.get(key);
    if (found === undefined) return nothing;
    return [...found].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, object]) => object);
  }

  /** Puts one version in the place of another; returns the keys under which something else is seen now. */
  replace(before: KnownObject | undefined, next: KnownObject | undefined): ReadonlySet<string> {
    const left = new Set(before === undefined ? [] : this.#keysOf(before));
    const entered = new Set(next === undefined ? [] : this.#keysOf(next));
    for (const key of left) if (before !== undefined) this.#take(key, before);
    for (const key of entered) if (next !== undefined) this.#put(key, next);
    return new Set([...left, ...entered]);
  }

  #put(key: string, object: KnownObject): void {
    const known = this.#entries.get(key);
    if (known === undefined) this.#entries.set(key, new Map([[nameOf(object), object]]));
    else known.set(nameOf(object), object);
  }

  #take(key: string, object: KnownObject): void {
    const known = this.#entries.get(key);
    known?.delete(nameOf(object));
    if (known?.size === 0) this.#entries.delete(key);
  }
}

const nothing: readonly never[] = Object.freeze([]);
const nameOf = ({ metadata }: KnownObject) => `${metadata.namespace}/${metadata.name}`;
