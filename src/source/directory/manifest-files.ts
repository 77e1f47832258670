/**
 * The files of a manifest directory, each with what it gave. One that changes is read again, the others are not; what differs
 * then is told object by object. An object that becomes bad keeps its last good version, a file that cannot be read all of them.
 * Before the first telling nobody knows what a bad object was, unless it was recorded: a policy is then stood for by a refusal.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  describeOrigin,
  type KnownObject,
  type Origin,
  parseDocument,
  type RawDocument,
  type Rejection,
} from '../kubernetes/objects.ts';
import { emptyRecord, type LastGood, type LastGoodRecord } from '../last-good.ts';
import type { InForce, ObjectChange, ObjectId, RejectedObject, SourceObject } from '../object-source.ts';
import { placeholderOf, placeholderSentence } from '../placeholder.ts';
import { readDocuments } from './documents.ts';

interface WrittenObject {
  readonly id: ObjectId;
  readonly object: KnownObject;
  readonly origin: Origin;
  /** What counts instead of what is written. */
  readonly inForce?: InForce;
}

interface FileContent {
  readonly objects: readonly WrittenObject[];
  readonly rejected: readonly RejectedObject[];
  /** It could not be read as a whole; the objects are those of before. */
  readonly isBroken?: true;
}

const noContent: FileContent = Object.freeze({ objects: Object.freeze([]), rejected: Object.freeze([]) });

export class ManifestFiles {
  readonly #record: LastGoodRecord;
  readonly #files = new Map<string, FileContent>();
  /** Who wrote an object: usually one file. */
  readonly #writers = new Map<ObjectId, readonly WrittenObject[]>();
  /** What was handed out. */
  readonly #told = new Map<ObjectId, KnownObject>();
  readonly #touched = new Set<ObjectId>();
  /** Files with something bad, and objects that are written more than once: both are few. */
  readonly #badFiles = new Set<string>();
  readonly #writtenTwice = new Set<ObjectId>();
  readonly #placeholders = new WeakSet<KnownObject>();
  /** Until something was told. */
  #isStarting = true;
  /** Files that are there, cannot be read, and held nobody knows what. */
  readonly #unknown = new Map<string, RejectedObject>();

  constructor(record: LastGoodRecord = emptyRecord) {
    this.#record = record;
  }

  get names(): string[] {
    return [...this.#files.keys()];
  }

  /** With any, what the files hold must not be taken for the whole. */
  get unknown(): readonly RejectedObject[] {
    return [...this.#unknown.values()];
  }

  /** What is bad now, by file. */
  get rejected(): RejectedObject[] {
    const bad = [...this.#badFiles].sort().flatMap((file) => this.#contentOf(file).rejected);
    return [...bad, ...this.#duplicates()];
  }

  /** What the next start has to know of what is bad now. */
  get record(): LastGoodRecord {
    const bad = [...this.#badFiles].sort().map((file) => [file, this.#contentOf(file)] as const);
    return {
      objects: bad.flatMap(([file, content]) => recordedOf(file, content)),
      // With a placeholder among its objects it is not known as a whole.
      files: bad.flatMap(([file, { isBroken, objects }]) =>
        isBroken === true && !objects.some(({ object }) => this.#placeholders.has(object)) ? file : [],
      ),
    };
  }

  /** The text of a file that is new or changed. */
  read(file: string, text: string): void {
    const read = readDocuments(file, text);
    if (read.rejections.length > 0) {
      this.#broken(
        file,
        read.rejections.map((rejection) => rejectedObject(undefined, rejection)),
      );
      return;
    }
    const objects: WrittenObject[] = [];
    const rejected: RejectedObject[] = [];
    for (const document of read.documents) {
      const parsed = parseDocument(document);
      const { origin } = document;
      if (parsed.kind === 'object') objects.push({ id: parsed.key, object: parsed.object, origin });
      if (parsed.kind !== 'rejected') continue;
      const { key } = parsed;
      const instead = key === undefined ? undefined : this.#insteadOf(key, document);
      const inForce = key === undefined ? undefined : (instead?.inForce ?? 'nothing');
      rejected.push(...parsed.rejections.map((each) => rejectedObject(key, each, inForce)));
      if (instead !== undefined) objects.push(instead);
    }
    this.#unknown.delete(file);
    this.#replace(file, { objects, rejected });
  }

  /** A file that is there and cannot be read: what it gave stays. */
  unreadable(file: string, reason: string): void {
    this.#broken(file, [{ id: undefined, origin: file, field: '', reason }]);
  }

  remove(file: string): void {
    this.#replace(file, noContent);
    this.#files.delete(file);
    this.#badFiles.delete(file);
    this.#unknown.delete(file);
  }

  /** What differs from what was told before. */
  take(): ObjectChange {
    this.#isStarting = false;
    const upserts: SourceObject[] = [];
    const removals: ObjectId[] = [];
    for (const id of this.#touched) {
      const object = this.#writers.get(id)?.[0]?.object;
      const before = this.#told.get(id);
      if (object === undefined) {
        if (this.#told.delete(id)) removals.push(id);
      } else if (!isDeepStrictEqual(before, object)) {
        this.#told.set(id, object);
        upserts.push({ id, object });
      }
    }
    this.#touched.clear();
    return { upserts, removals };
  }

  #broken(file: string, rejected: readonly RejectedObject[]): void {
    const known = this.#unknown.has(file) ? undefined : (this.#files.get(file) ?? this.#recorded(file));
    const [first] = rejected;
    if (known === undefined && this.#isStarting && first !== undefined) this.#unknown.set(file, first);
    this.#replace(file, { ...(known ?? noContent), rejected, isBroken: true });
  }

  /** What a file held, if that was recorded as a whole. */
  #recorded(file: string): FileContent | undefined {
    if (!this.#isStarting || !this.#record.files.includes(file)) return undefined;
    const objects = this.#record.objects.flatMap(({ id, object, file: within }): WrittenObject[] =>
      within !== file || object === undefined
        ? []
        : [{ id, object, origin: { file, document: 1, line: 1 }, inForce: 'last good version' }],
    );
    return { objects, rejected: [] };
  }

  /** Undefined: nothing of it is in force. */
  #insteadOf(id: ObjectId, { origin, value }: RawDocument): WrittenObject | undefined {
    const known = this.#writers.get(id)?.[0]?.object ?? this.#told.get(id);
    const isKnown = known !== undefined && !this.#placeholders.has(known);
    if (isKnown) return { id, object: known, origin, inForce: 'last good version' };
    // One that is new while this runs was never good.
    if (known === undefined && !this.#isStarting) return undefined;
    const recorded = this.#isStarting ? this.#record.objects.find((each) => each.id === id) : undefined;
    const object = recorded === undefined ? placeholderOf(id, value) : recorded.object;
    if (object === undefined) return undefined;
    if (recorded === undefined) this.#placeholders.add(object);
    return { id, object, origin, inForce: recorded === undefined ? 'placeholder' : 'last good version' };
  }

  #contentOf(file: string): FileContent {
    return this.#files.get(file) ?? noContent;
  }

  #set(file: string, content: FileContent): void {
    this.#files.set(file, content);
    if (content.rejected.length > 0) this.#badFiles.add(file);
    else this.#badFiles.delete(file);
  }

  #replace(file: string, next: FileContent): void {
    const ids = new Set([...this.#contentOf(file).objects, ...next.objects].map(({ id }) => id));
    this.#set(file, next);
    for (const id of ids) {
      const others = (this.#writers.get(id) ?? []).filter(({ origin }) => origin.file !== file);
      const all = [...others, ...next.objects.filter((each) => each.id === id)].sort(writtenFirst);
      if (all.length === 0) this.#writers.delete(id);
      else this.#writers.set(id, all);
      if (all.length > 1) this.#writtenTwice.add(id);
      else this.#writtenTwice.delete(id);
      this.#touched.add(id);
    }
  }

  /** An object that is written twice: the first one counts. */
  #duplicates(): RejectedObject[] {
    return [...this.#writtenTwice].sort().flatMap((written) => {
      const [first, ...others] = this.#writers.get(written) ?? [];
      return others.map(({ id, origin }) => ({
        id,
        origin: describeOrigin(origin),
        field: 'metadata.name',
        reason: `is already written in ${first === undefined ? '' : describeOrigin(first.origin)}, which counts`,
      }));
    });
  }
}

/** Of a broken file all that it gave; else the bad ones, those that were never good among them. */
function recordedOf(file: string, { objects, rejected, isBroken }: FileContent): LastGood[] {
  const good = objects.filter(
    ({ inForce }) => inForce !== 'placeholder' && (isBroken === true || inForce !== undefined),
  );
  const never = rejected.flatMap(({ id, inForce }) => (id !== undefined && inForce === 'nothing' ? id : []));
  return [
    ...good.map(({ id, object }) => ({ id, object, uid: '', file })),
    ...[...new Set(never)].map((id) => ({ id, object: undefined, uid: '', file })),
  ];
}

function writtenFirst(left: WrittenObject, right: WrittenObject): number {
  if (left.origin.file !== right.origin.file) return left.origin.file < right.origin.file ? -1 : 1;
  return left.origin.document - right.origin.document;
}

function rejectedObject(
  id: ObjectId | undefined,
  { origin, field, reason }: Rejection,
  inForce?: InForce,
): RejectedObject {
  const isReplaced = inForce === 'placeholder' && id !== undefined;
  return {
    id,
    origin: describeOrigin(origin),
    field,
    reason: isReplaced ? `${reason}; ${placeholderSentence(id)}` : reason,
    ...(inForce === undefined ? {} : { inForce }),
  };
}
