/**
 * The files of a manifest directory, each with what it gave. One that changes is read again, the others are not; what differs
 * then is told object by object. An object that becomes bad keeps its last good version, a file that cannot be read all of them.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  describeOrigin,
  type KnownObject,
  type Origin,
  parseDocument,
  type Rejection,
} from '../kubernetes/objects.ts';
import type { ObjectChange, ObjectId, RejectedObject, SourceObject } from '../object-source.ts';
import { readDocuments } from './documents.ts';

interface WrittenObject {
  readonly id: ObjectId;
  readonly object: KnownObject;
  readonly origin: Origin;
}

interface FileContent {
  readonly objects: readonly WrittenObject[];
  readonly rejected: readonly RejectedObject[];
}

const noContent: FileContent = Object.freeze({ objects: Object.freeze([]), rejected: Object.freeze([]) });

export class ManifestFiles {
  readonly #files = new Map<string, FileContent>();
  /** Who wrote an object: usually one file. */
  readonly #writers = new Map<ObjectId, readonly WrittenObject[]>();
  /** What was handed out. */
  readonly #told = new Map<ObjectId, KnownObject>();
  readonly #touched = new Set<ObjectId>();
  /** Files with something bad, and objects that are written more than once: both are few. */
  readonly #badFiles = new Set<string>();
  readonly #writtenTwice = new Set<ObjectId>();

  get names(): string[] {
    return [...this.#files.keys()];
  }

  /** What is bad now, by file. */
  get rejected(): RejectedObject[] {
    const bad = [...this.#badFiles].sort().flatMap((file) => this.#contentOf(file).rejected);
    return [...bad, ...this.#duplicates()];
  }

  /** The text of a file that is new or changed. */
  read(file: string, text: string): void {
    const read = readDocuments(file, text);
    if (read.rejections.length > 0) {
      const rejected = read.rejections.map((rejection) => rejectedObject(undefined, rejection));
      this.#set(file, { ...this.#contentOf(file), rejected });
      return;
    }
    const objects: WrittenObject[] = [];
    const rejected: RejectedObject[] = [];
    for (const document of read.documents) {
      const parsed = parseDocument(document);
      if (parsed.kind === 'object')
        objects.push({ id: parsed.key, object: parsed.object, origin: parsed.origin });
      if (parsed.kind !== 'rejected') continue;
      const { key } = parsed;
      rejected.push(...parsed.rejections.map((rejection) => rejectedObject(key, rejection)));
      const before = key === undefined ? undefined : this.#told.get(key);
      if (key !== undefined && before !== undefined)
        objects.push({ id: key, object: before, origin: document.origin });
    }
    this.#replace(file, { objects, rejected });
  }

  /** A file that is there and cannot be read: what it gave stays. */
  unreadable(file: string, reason: string): void {
    const rejected = [{ id: undefined, origin: file, field: '', reason }];
    this.#set(file, { ...this.#contentOf(file), rejected });
  }

  remove(file: string): void {
    this.#replace(file, noContent);
    this.#files.delete(file);
    this.#badFiles.delete(file);
  }

  /** What differs from what was told before. */
  take(): ObjectChange {
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

function writtenFirst(left: WrittenObject, right: WrittenObject): number {
  if (left.origin.file !== right.origin.file) return left.origin.file < right.origin.file ? -1 : 1;
  return left.origin.document - right.origin.document;
}

function rejectedObject(id: ObjectId | undefined, { origin, field, reason }: Rejection): RejectedObject {
  return { id, origin: describeOrigin(origin), field, reason };
}
