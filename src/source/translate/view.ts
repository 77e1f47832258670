/** What a translation may look at. Whoever calls it can note each look, and translate again when one would see something else. */
import type { ObjectKind, ObjectKinds } from '../kubernetes/objects.ts';
import type { MeshNames } from './context.ts';

export interface ClusterView {
  readonly names: MeshNames;
  /** Kinds without namespaces are under ''. */
  get<K extends ObjectKind>(kind: K, namespace: string, name: string): ObjectKinds[K] | undefined;
  /**
   * All of a kind in a namespace, by name. A look that ends whenever any of them changes: for kinds of which a namespace has
   * few, never for its pods.
   */
  list<K extends ObjectKind>(kind: K, namespace: string): readonly ObjectKinds[K][];
}
