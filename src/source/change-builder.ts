/** Changes put together: what happened in a row, as one. */
import type { ObjectChange, ObjectId, SourceObject } from './object-source.ts';

/** The last word about each object counts: one that comes and goes within a batch was never there, for whoever is told. */
export class ChangeBuilder {
  readonly #upserts = new Map<ObjectId, SourceObject>();
  readonly #removals = new Set<ObjectId>();

  upsert(object: SourceObject): void {
    this.#removals.delete(object.id);
    this.#upserts.set(object.id, object);
  }

  remove(id: ObjectId): void {
    this.#upserts.delete(id);
    this.#removals.add(id);
  }

  build(): ObjectChange {
    return { upserts: [...this.#upserts.values()], removals: [...this.#removals] };
  }
}

/** Several changes, one after the other, as one. */
export function mergeChanges(changes: readonly ObjectChange[]): ObjectChange {
  const merged = new ChangeBuilder();
  for (const { upserts, removals } of changes) {
    for (const id of removals) merged.remove(id);
    for (const object of upserts) merged.upsert(object);
  }
  return merged.build();
}

export function isEmptyChange({ upserts, removals }: ObjectChange): boolean {
  return upserts.length === 0 && removals.length === 0;
}
