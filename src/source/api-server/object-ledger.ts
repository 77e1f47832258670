/**
 * What was told about one kind's objects: enough to say what a new list or event changes, and no more. The objects themselves
 * are with whoever was told, so that a big cluster is not in memory twice.
 */
import { ChangeBuilder } from '../change-builder.ts';
import { type KnownObject, type ParsedDocument, parseDocument } from '../kubernetes/objects.ts';
import type { LastGood } from '../last-good.ts';
import type { InForce, ObjectChange, ObjectId, RejectedObject } from '../object-source.ts';
import { placeholderOf, placeholderSentence } from '../placeholder.ts';
import type { RawObject, WatchEvent } from './watch-events.ts';

interface Entry {
  readonly resourceVersion: string;
  readonly uid: string;
  readonly inForce: 'newest' | InForce;
  /** What was told, of kinds that operators write; the cluster makes the others anew by itself. */
  readonly object: KnownObject | undefined;
}

/** Where a cluster has many, and nobody writes them by hand. */
const passingKinds: ReadonlySet<string> = new Set(['Pod', 'EndpointSlice', 'Node', 'ServiceAccount']);

/** Fields by which kubectl and the API server remember who wrote what: often most of an object, nothing of it for us. */
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

export class ObjectLedger {
  readonly #title: string;
  readonly #entries = new Map<ObjectId, Entry>();
  readonly #rejected = new Map<ObjectId, readonly RejectedObject[]>();
  /** What others knew of objects of which nothing better is known here. */
  readonly #recorded = new Map<ObjectId, LastGood>();
  #isListed = false;
  /** Objects that became bad, or bad in another way, since somebody asked. */
  #verdicts = new Set<ObjectId>();

  constructor(kind: string) {
    this.#title = kind;
  }

  get size(): number {
    return this.#entries.size;
  }

  get rejected(): readonly RejectedObject[] {
    return [...this.#rejected.values()].flat();
  }

  /** What the next start has to know of what is bad now. */
  get lastGood(): readonly LastGood[] {
    const known = [...this.#rejected.keys()].flatMap((id): LastGood[] => {
      const { inForce, object, uid = '' } = this.#entries.get(id) ?? {};
      if (inForce === 'nothing') return [{ id, uid, object: undefined }];
      return inForce === 'last good version' && object !== undefined ? [{ id, uid, object }] : [];
    });
    // Nobody has said yet that those are gone.
    return this.#isListed ? known : [...known, ...this.#recorded.values()];
  }

  takeVerdicts(): readonly ObjectId[] {
    const verdicts = [...this.#verdicts];
    this.#verdicts.clear();
    return verdicts;
  }

  /** What others know; it counts for objects of which nothing is known here. */
  remember(record: readonly LastGood[]): ObjectChange {
    const change = new ChangeBuilder();
    this.#recorded.clear();
    for (const known of record) {
      const parts = known.id.split('/');
      if (parts.at(-3) !== this.#title && parts.at(-2) !== this.#title) continue;
      this.#recorded.set(known.id, known);
      const entry = this.#entries.get(known.id);
      if (entry?.inForce === 'placeholder' && entry.uid === known.uid) this.#adopt(known, entry, change);
    }
    return change.build();
  }

  /** Begins a whole list; nothing counts before `finish`, so a list that breaks off changes nothing. */
  beginList(apiVersion: string): { add(items: readonly RawObject[]): void; finish(): ObjectChange } {
    const seen = new Set<ObjectId>();
    const changed: { readonly parsed: ParsedDocument; readonly item: RawObject }[] = [];
    return {
      add: (items) => {
        for (const item of items) {
          const resourceVersion = item.metadata?.resourceVersion ?? '';
          const parsed = this.#parse(item, apiVersion);
          if (parsed.key === undefined) continue;
          seen.add(parsed.key);
          if (this.#entries.get(parsed.key)?.resourceVersion !== resourceVersion)
            changed.push({ parsed, item });
        }
      },
      finish: () => {
        const change = new ChangeBuilder();
        for (const key of [...this.#entries.keys()]) if (!seen.has(key)) this.#remove(key, change);
        for (const key of [...this.#recorded.keys()]) if (!seen.has(key)) this.#recorded.delete(key);
        for (const { parsed, item } of changed) this.#put(parsed, item, change);
        this.#isListed = true;
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
      else this.#put(parsed, object, change);
    }
    return change.build();
  }

  /** The kind is not served any more. */
  clear(): ObjectChange {
    const change = new ChangeBuilder();
    // Should it be served again, with the same objects, they are what they were.
    const { lastGood } = this;
    for (const key of [...this.#entries.keys()]) this.#remove(key, change);
    for (const known of lastGood) this.#recorded.set(known.id, known);
    this.#isListed = false;
    return change.build();
  }

  /** Lists of built-in kinds do not repeat on each item what it is. */
  #parse(item: RawObject, apiVersion: string): ParsedDocument {
    const origin = {
      file: `resource version ${item.metadata?.resourceVersion ?? 'unknown'}`,
      document: 1,
      line: 1,
    };
    return parseDocument({ origin, value: { ...this.#document(item), apiVersion } });
  }

  #document(item: RawObject): RawObject {
    const metadata: Record<string, unknown> = { ...item.metadata };
    delete metadata.managedFields;
    metadata.annotations = withoutLastApplied(metadata.annotations);
    return { ...item, kind: this.#title, metadata };
  }

  #put(parsed: ParsedDocument, item: RawObject, change: ChangeBuilder): void {
    const key = parsed.key;
    if (key === undefined) return;
    const { resourceVersion = '' } = item.metadata ?? {};
    const uid = textOf(item.metadata?.uid);
    // Another one of the same name: what counted of the one before goes with it.
    if (this.#entries.has(key) && this.#entries.get(key)?.uid !== uid) this.#remove(key, change);
    if (parsed.kind === 'object') {
      const { object } = parsed;
      const isKept = !passingKinds.has(this.#title);
      this.#entries.set(key, {
        resourceVersion,
        uid,
        inForce: 'newest',
        object: isKept ? object : undefined,
      });
      this.#recorded.delete(key);
      if (this.#rejected.delete(key)) this.#verdicts.add(key);
      change.upsert({ id: key, object });
      return;
    }
    const next = this.#instead(key, item, uid);
    if (next.upsert !== undefined) change.upsert({ id: key, object: next.upsert });
    this.#entries.set(key, { resourceVersion, uid, ...next });
    this.#reject(key, rejectionsOf(parsed, key, item), next.inForce);
  }

  /** What counts instead of a version that is bad. */
  #instead(
    id: ObjectId,
    item: RawObject,
    uid: string,
  ): Pick<Entry, 'object'> & { readonly inForce: InForce; readonly upsert?: KnownObject } {
    const before = this.#entries.get(id);
    if (before?.inForce === 'newest' || before?.inForce === 'last good version')
      return { inForce: 'last good version', object: before.object };
    const recorded = this.#recorded.get(id);
    if (recorded?.uid === uid && before?.inForce !== 'nothing') {
      const { object } = recorded;
      if (object === undefined) return { inForce: 'nothing', object };
      return { inForce: 'last good version', object, upsert: object };
    }
    // One that was never written again was never good.
    const mayHaveBeenGood =
      before === undefined ? (generationOf(item) ?? 1) > 1 : before.inForce !== 'nothing';
    const object = mayHaveBeenGood ? placeholderOf(id, this.#document(item)) : undefined;
    if (object === undefined) return { inForce: 'nothing', object };
    return { inForce: 'placeholder', object, upsert: object };
  }

  #adopt({ id, object }: LastGood, entry: Entry, change: ChangeBuilder): void {
    const inForce = object === undefined ? 'nothing' : 'last good version';
    this.#entries.set(id, { ...entry, inForce, object });
    if (object === undefined) change.remove(id);
    else change.upsert({ id, object });
    const sentence = `; ${placeholderSentence(id)}`;
    const rejections = (this.#rejected.get(id) ?? []).map((each) => ({
      ...each,
      reason: each.reason.replace(sentence, ''),
    }));
    this.#reject(id, rejections, inForce);
  }

  #reject(id: ObjectId, rejections: readonly RejectedObject[], inForce: InForce): void {
    const end = inForce === 'placeholder' ? `; ${placeholderSentence(id)}` : '';
    this.#rejected.set(
      id,
      rejections.map((each) => ({ ...each, reason: `${each.reason}${end}`, inForce })),
    );
    this.#verdicts.add(id);
  }

  #remove(key: ObjectId, change: ChangeBuilder): void {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    this.#recorded.delete(key);
    if (this.#rejected.delete(key)) this.#verdicts.add(key);
    if (entry !== undefined && entry.inForce !== 'nothing') change.remove(key);
  }
}

function generationOf({ metadata }: RawObject): number | undefined {
  return typeof metadata?.generation === 'number' ? metadata.generation : undefined;
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : '');

function withoutLastApplied(annotations: unknown): unknown {
  if (typeof annotations !== 'object' || annotations === null || !(lastApplied in annotations))
    return annotations;
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => name !== lastApplied));
}

function rejectionsOf(parsed: ParsedDocument, id: ObjectId, item: RawObject): readonly RejectedObject[] {
  const generation = generationOf(item);
  const counted = generation === undefined ? {} : { generation };
  if (parsed.kind !== 'rejected') {
    const reason = 'is of a kind that this version does not read';
    return [{ id, origin: parsed.origin.file, field: '', reason, ...counted }];
  }
  return parsed.rejections.map(({ origin, field, reason }) => ({
    id,
    origin: origin.file,
    field,
    reason,
    ...counted,
  }));
}
