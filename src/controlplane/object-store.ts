/** The objects as a source tells them, and the views through which translations look at them. */
import { isDeepStrictEqual } from 'node:util';
import type { KnownObject, ObjectKind, ObjectKinds } from '../source/kubernetes/objects.ts';
import type { ObjectChange, ObjectId, SourceObject } from '../source/object-source.ts';
import type { MeshNames } from '../source/translate/context.ts';
import { comparePrecedence } from '../source/translate/precedence.ts';
import type { ClusterIndex, ClusterView } from '../source/translate/view.ts';
import { type LookKey, look } from './looks.ts';
import { StoreIndex } from './store-index.ts';

/** An object under its name. Versions of one kind (`v1`, `v1beta1`) share a name, so there may be several. */
interface Place {
  readonly kind: ObjectKind;
  readonly namespace: string;
  readonly name: string;
}

/** All of a kind in a namespace. */
interface Shelf {
  readonly byName: Map<string, SourceObject>;
  /** By name, made when somebody asks. */
  sorted: readonly KnownObject[] | undefined;
}

export class ObjectStore {
  readonly #names: MeshNames;
  readonly #places = new Map<ObjectId, Place>();
  readonly #shelves = new Map<LookKey, Shelf>();
  /** Those that share a name with another, the one that counts among them. */
  readonly #shared = new Map<LookKey, SourceObject[]>();
  readonly #counts = new Map<ObjectKind, number>();
  /** Made when somebody looks. */
  readonly #indexes = new Map<string, StoreIndex>();

  constructor(names: MeshNames) {
    this.#names = names;
  }

  get names(): MeshNames {
    return this.#names;
  }

  get size(): number {
    return this.#places.size;
  }

  /** Objects by kind. */
  get counts(): ReadonlyMap<ObjectKind, number> {
    return this.#counts;
  }

  /** Names that several objects claim, with all that do; the first one counts. */
  get shared(): ReadonlyMap<LookKey, readonly SourceObject[]> {
    return this.#shared;
  }

  /** Takes a change in, and says which looks would see something else now. */
  apply(change: ObjectChange): Set<LookKey> {
    const touched = new Set<LookKey>();
    for (const id of change.removals) this.#remove(id, touched);
    for (const entry of change.upserts) this.#put(entry, touched);
    return touched;
  }

  /** The object that counts under a name. */
  find(kind: ObjectKind, namespace: string, name: string): SourceObject | undefined {
    return this.#shelves.get(look.list(kind, namespace))?.byName.get(name);
  }

  /** All of a kind, whatever their namespace, in no special order. */
  all<K extends ObjectKind>(kind: K): ObjectKinds[K][] {
    const shelves = [...this.#shelves].filter(([key]) => key.startsWith(`${kind}/`));
    return shelves.flatMap(([, { byName }]) =>
      [...byName.values()].map(({ object }) => object as ObjectKinds[K]),
    );
  }

  /** What a translation sees; `onLook` is told of each look, also one that finds nothing. */
  view(onLook: (key: LookKey) => void): ClusterView {
    return {
      names: this.#names,
      get: <K extends ObjectKind>(kind: K, namespace: string, name: string) => {
        onLook(look.object(kind, namespace, name));
        return this.find(kind, namespace, name)?.object as ObjectKinds[K] | undefined;
      },
      list: <K extends ObjectKind>(kind: K, namespace: string) => {
        onLook(look.list(kind, namespace));
        return this.#list(kind, namespace) as readonly ObjectKinds[K][];
      },
      indexed: <K extends ObjectKind>(index: ClusterIndex<K>, key: string) => {
        onLook(look.index(index.name, key));
        return this.#index(index as unknown as ClusterIndex<ObjectKind>).at(
          key,
        ) as readonly KnownObject[] as readonly ObjectKinds[K][];
      },
    };
  }

  #list(kind: ObjectKind, namespace: string): readonly KnownObject[] {
    const shelf = this.#shelves.get(look.list(kind, namespace));
    if (shelf === undefined) return nothing;
    shelf.sorted ??= Object.freeze(
      [...shelf.byName].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, { object }]) => object),
    );
    return shelf.sorted;
  }

  #index(index: ClusterIndex<ObjectKind>): StoreIndex {
    const known = this.#indexes.get(index.name);
    if (known !== undefined) return known;
    const made = new StoreIndex(index);
    for (const shelf of this.#shelves.values()) {
      for (const { object } of shelf.byName.values()) {
        if (object.kind === index.kind) made.replace(undefined, object);
      }
    }
    this.#indexes.set(index.name, made);
    return made;
  }

  #put(entry: SourceObject, touched: Set<LookKey>): void {
    const known = this.#places.get(entry.id);
    const place = known ?? placeOf(entry);
    if (known === undefined) {
      this.#places.set(entry.id, place);
      this.#counts.set(place.kind, (this.#counts.get(place.kind) ?? 0) + 1);
    }
    const others = this.#claims(place).filter(({ id }) => id !== entry.id);
    this.#settle(place, [...others, entry], touched);
  }

  #remove(id: ObjectId, touched: Set<LookKey>): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    this.#places.delete(id);
    this.#counts.set(place.kind, (this.#counts.get(place.kind) ?? 1) - 1);
    const others = this.#claims(place).filter((claim) => claim.id !== id);
    this.#settle(place, others, touched);
  }

  #claims({ kind, namespace, name }: Place): readonly SourceObject[] {
    const key = look.object(kind, namespace, name);
    const only = this.find(kind, namespace, name);
    return this.#shared.get(key) ?? (only === undefined ? [] : [only]);
  }

  /** Puts the claim that counts on the shelf, and notes who would see a difference. */
  #settle({ kind, namespace, name }: Place, claims: SourceObject[], touched: Set<LookKey>): void {
    const key = look.object(kind, namespace, name);
    const ordered = claims.sort((left, right) => comparePrecedence(claimant(left), claimant(right)));
    if (ordered.length > 1) this.#shared.set(key, ordered);
    else this.#shared.delete(key);
    const shelfKey = look.list(kind, namespace);
    const before = this.find(kind, namespace, name);
    const [counts] = ordered;
    if (counts === undefined) {
      const shelf = this.#shelves.get(shelfKey);
      shelf?.byName.delete(name);
      if (shelf?.byName.size === 0) this.#shelves.delete(shelfKey);
    } else {
      this.#shelf(shelfKey).byName.set(name, counts);
    }
    if (before?.id === counts?.id && isDeepStrictEqual(before?.object, counts?.object)) {
      // Translations hold the version they saw; the one on the shelf must go on being that one.
      if (before !== undefined) this.#shelf(shelfKey).byName.set(name, before);
      return;
    }
    const shelf = this.#shelves.get(shelfKey);
    if (shelf !== undefined) shelf.sorted = undefined;
    touched.add(key).add(shelfKey);
    for (const [index, entries] of this.#indexes) {
      if (entries.kind !== kind) continue;
      for (const each of entries.replace(before?.object, counts?.object))
        touched.add(look.index(index, each));
    }
  }

  #shelf(key: LookKey): Shelf {
    const known = this.#shelves.get(key);
    if (known !== undefined) return known;
    const fresh: Shelf = { byName: new Map(), sorted: undefined };
    this.#shelves.set(key, fresh);
    return fresh;
  }
}

const nothing: readonly never[] = Object.freeze([]);

const claimant = ({ id, object }: SourceObject) => ({ id, createdAt: object.metadata.creationTimestamp });

/** The namespace is in the id only for kinds that have one. */
function placeOf({ id, object }: SourceObject): Place {
  const [first = '', second] = id.slice(`${object.apiVersion}/${object.kind}/`.length).split('/');
  return second === undefined
    ? { kind: object.kind, namespace: '', name: first }
    : { kind: object.kind, namespace: first, name: second };
}
