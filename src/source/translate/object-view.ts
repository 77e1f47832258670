import type { KnownObject, ObjectKind, ObjectKinds } from '../kubernetes/objects.ts';
import { defaultMeshNames, type MeshNames } from './context.ts';
import type { ClusterIndex, ClusterView } from './view.ts';

/** A view of objects that do not change any more. */
export function viewOf(objects: readonly KnownObject[], names: MeshNames = defaultMeshNames): ClusterView {
  return new ObjectView(objects, names);
}

type Index = Map<string, KnownObject[]>;

class ObjectView implements ClusterView {
  readonly names: MeshNames;
  readonly #byName = new Map<string, KnownObject>();
  readonly #byNamespace: Index = new Map();
  readonly #indexes = new Map<string, Index>();

  constructor(objects: readonly KnownObject[], names: MeshNames) {
    this.names = names;
    // The last of a name counts.
    for (const object of objects) this.#byName.set(nameKey(object), object);
    for (const object of this.#sorted()) append(this.#byNamespace, namespaceKey(object), object);
  }

  get<K extends ObjectKind>(kind: K, namespace: string, name: string): ObjectKinds[K] | undefined {
    return this.#byName.get(`${kind}/${namespace}/${name}`) as ObjectKinds[K] | undefined;
  }

  list<K extends ObjectKind>(kind: K, namespace: string): readonly ObjectKinds[K][] {
    return (this.#byNamespace.get(`${kind}/${namespace}`) ?? []) as unknown as ObjectKinds[K][];
  }

  indexed<K extends ObjectKind>(index: ClusterIndex<K>, key: string): readonly ObjectKinds[K][] {
    return (this.#index(index).get(key) ?? []) as unknown as ObjectKinds[K][];
  }

  /** Made at the first look. */
  #index<K extends ObjectKind>({ name, kind, keysOf }: ClusterIndex<K>): Index {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    const made: Index = new Map();
    for (const object of this.#sorted()) {
      if (object.kind !== kind) continue;
      for (const key of new Set(keysOf(object as ObjectKinds[K]))) append(made, key, object);
    }
    this.#indexes.set(name, made);
    return made;
  }

  #sorted(): KnownObject[] {
    return [...this.#byName].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, object]) => object);
  }
}

const nameKey = ({ kind, metadata }: KnownObject) => `${kind}/${metadata.namespace}/${metadata.name}`;
const namespaceKey = ({ kind, metadata }: KnownObject) => `${kind}/${metadata.namespace}`;

function append(index: Index, key: string, object: KnownObject): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, [object]);
  else known.push(object);
}
