/** What a translation may look at. Whoever calls it can note each look, and translate again when one would see something else. */
import type { ObjectKind, ObjectKinds } from '../kubernetes/objects.ts';
import type { MeshNames } from './context.ts';

/**
 * Objects of one kind by something they say: a look under one key ends only when objects with that key change. `keysOf` is
 * pure; an object without keys is in the index nowhere. Every index is in `indexes.ts`.
 */
export interface ClusterIndex<K extends ObjectKind> {
  /** Unique among the indexes. */
  readonly name: string;
  readonly kind: K;
  keysOf(object: ObjectKinds[K]): readonly string[];
}

export interface ClusterView {
  readonly names: MeshNames;
  /** Kinds without namespaces are under ''. */
  get<K extends ObjectKind>(kind: K, namespace: string, name: string): ObjectKinds[K] | undefined;
  /**
   * All of a kind in a namespace, by name. A look that ends whenever any of them changes: for kinds of which a namespace has
   * few, never for its pods.
   */
  list<K extends ObjectKind>(kind: K, namespace: string): readonly ObjectKinds[K][];
  /** Objects that have `key` in `index`, each once, by namespace and name. */
  indexed<K extends ObjectKind>(index: ClusterIndex<K>, key: string): readonly ObjectKinds[K][];
}
