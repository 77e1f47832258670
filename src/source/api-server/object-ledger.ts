/**
 * What was told about one kind's objects: enough to say what a new list or event changes, and no more. The objects themselves
 * are with whoever was told, so that a big cluster is not in memory twice.
 */
import { type ParsedDocument, parseDocument } from '../kubernetes/objects.ts';
import type { ObjectChange, ObjectId, RejectedObject, SourceObject } from '../object-source.ts';
import type { RawObject, WatchEvent } from './watch-events.ts';

interface Entry {
  readonly resourceVersion: string;
  /** A good version of it was told. */
  readonly isTold: boolean;
}

/** Fields by which kubectl and the API server remember who wrote what: often most of an object, nothing of it for us. */
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

export class ObjectLedger {
  readonly #title: string;
  readonly #entries = new Map<ObjectId, Entry>();
  readonly #rejected = new Map<ObjectId, readonly RejectedObject[]>();

  constructor(kind: string) {
    this.#title = kind;
  }

  get size(): number {
    return this.#entries.size;
  }

  get rejected(): readonly RejectedObject[] {
    return [...this.#rejected.values()].flat();
  }

  /** Begins a whole list; nothing counts before `finish`, so a list that breaks off changes nothing. */
  beginList(apiVersion: string): { add(items: readonly RawObject[]): void; finish(): ObjectChange } {
    const seen = new Set<ObjectId>();
    const changed: { readonly parsed: ParsedDocument; readonly resourceVersion: string }[] = [];
    return {
      add: (items) => {
        for (const item of items) {
          const resourceVersion = item.metadata?.resourceVersion ?? '';
          const parsed = this.#parse(item, apiVersion);
          if (parsed.key === undefined) continue;
          seen.add(parsed.key);
          if (this.#entries.get(parsed.key)?.resourceVersion !== resourceVersion)
            changed.push({ parsed, resourceVersion });
        }
      },
      finish: () => {
        const change = new ChangeBuilder();
        for (const key of [...this.#entries.keys()]) if (!seen.has(key)) this.#remove(key, change);
        for (const { parsed, resourceVersion } of changed) this.#put(parsed, resourceVersion, change);
        return change.build();
      },
    };
  }

  /** Events in their order. */
  apply(events: readonly WatchEvent[], apiVersion: string): ObjectChange {
    const change = new ChangeBuilder();
    for (const { type, object } of events) {
      if (type === 'BOOKMARK') continue;
      const parsed = this.#parse(object, apiVersion);
      if (parsed.key === undefined) continue;
      if (type === 'DELETED') this.#remove(parsed.key, change);
      else this.#put(parsed, object.metadata?.resourceVersion ?? '', change);
    }
    return change.build();
  }

  /** The kind is not served any more. */
  clear(): ObjectChange {
    const change = new ChangeBuilder();
    for (const key of [...this.#entries.keys()]) this.#remove(key, change);
    return change.build();
  }

  /** Lists of built-in kinds do not repeat on each item what it is. */
  #parse(item: RawObject, apiVersion: string): ParsedDocument {
    const metadata: Record<string, unknown> = { ...item.metadata };
    delete metadata.managedFields;
    metadata.annotations = withoutLastApplied(metadata.annotations);
    const origin = {
      file: `resource version ${item.metadata?.resourceVersion ?? 'unknown'}`,
      document: 1,
      line: 1,
    };
    return parseDocument({ origin, value: { ...item, apiVersion, kind: this.#title, metadata } });
  }

  #put(parsed: ParsedDocument, resourceVersion: string, change: ChangeBuilder): void {
    const key = parsed.key;
    if (key === undefined) return;
    if (parsed.kind === 'object') {
      this.#entries.set(key, { resourceVersion, isTold: true });
      this.#rejected.delete(key);
      change.upsert({ id: key, object: parsed.object });
      return;
    }
    // Its last good version stays in force.
    this.#entries.set(key, { resourceVersion, isTold: this.#entries.get(key)?.isTold ?? false });
    this.#rejected.set(key, rejectionsOf(parsed, key));
  }

  #remove(key: ObjectId, change: ChangeBuilder): void {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    this.#rejected.delete(key);
    if (entry?.isTold === true) change.remove(key);
  }
}

function withoutLastApplied(annotations: unknown): unknown {
  if (typeof annotations !== 'object' || annotations === null || !(lastApplied in annotations))
    return annotations;
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => name !== lastApplied));
}

function rejectionsOf(parsed: ParsedDocument, id: ObjectId): readonly RejectedObject[] {
  if (parsed.kind !== 'rejected') {
    return [
      { id, origin: parsed.origin.file, field: '', reason: 'is of a kind that this version does not read' },
    ];
  }
  return parsed.rejections.map(({ origin, field, reason }) => ({ id, origin: origin.file, field, reason }));
}

/** The last word about each object counts: one that comes and goes within a batch was never there, for whoever is told. */
class ChangeBuilder {
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
