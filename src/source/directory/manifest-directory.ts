/**
 * A directory of manifests, watched. It behaves as an API server would towards `kubectl apply`: an object that becomes
 * bad keeps its last good version, a file that cannot be read at all keeps all of them, everything else applies. At the first
 * look nobody knows a last good version, so a bad policy refuses.
 */
import { type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { HadalError } from '../../base/errors.ts';
import {
  type KnownObject,
  type Origin,
  type ParsedDocument,
  parseDocument,
  type RawDocument,
  type Rejection,
} from '../kubernetes/objects.ts';
import { placeholderOf } from '../placeholder.ts';
import { readDocuments } from './documents.ts';

export interface OtherObject {
  readonly apiVersion: string;
  readonly objectKind: string;
  readonly value: unknown;
  readonly origin: Origin;
}

export interface Manifests {
  readonly objects: readonly KnownObject[];
  /** Kinds that the mesh does not read, for whoever does (the lab has some of its own). */
  readonly others: readonly OtherObject[];
  readonly rejections: readonly Rejection[];
}

export interface ManifestDirectory {
  readonly current: Manifests;
  close(): void;
}

type Accepted = Exclude<ParsedDocument, { kind: 'rejected' }>;

/** What one file gave, and gives again when its next version is unreadable. */
type FileContent = readonly Accepted[];

/** Files as `kubectl apply -f DIR` takes them: not recursive. */
const manifestFile = /\.(ya?ml|json)$/;
/** Editors write a file in several steps. */
const settleMs = 50;

export function openManifestDirectory(
  directory: string,
  onChange?: (manifests: Manifests) => void,
): ManifestDirectory {
  if (manifestFiles(directory) === undefined) {
    throw new HadalError(
      'ERR_SOURCE_DIRECTORY',
      `there is no directory ${directory}; name one with manifests (*.yaml, *.json)`,
    );
  }
  const remembered = new Map<string, FileContent>();
  let current = readAll(directory, remembered, placeholder);
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  if (onChange !== undefined) {
    watcher = watch(directory, () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const next = readAll(directory, remembered, () => undefined);
        if (JSON.stringify(next) === JSON.stringify(current)) return;
        current = next;
        onChange(current);
      }, settleMs);
    });
    // A directory that disappears ends the watch; what was read stays.
    watcher.on('error', () => watcher?.close());
  }
  return {
    get current() {
      return current;
    },
    close() {
      clearTimeout(timer);
      watcher?.close();
    },
  };
}

/** What counts instead of a document that is bad, where nothing better is known. */
type Instead = (key: string, document: RawDocument) => Accepted | undefined;

const placeholder: Instead = (key, { origin, value }) => {
  const object = placeholderOf(key, value);
  return object === undefined ? undefined : { kind: 'object', key, object, origin };
};

function readAll(directory: string, remembered: Map<string, FileContent>, unknown: Instead): Manifests {
  const files = manifestFiles(directory);
  if (files === undefined) return merge([...remembered.values()].flat(), []);
  for (const known of remembered.keys()) if (!files.includes(known)) remembered.delete(known);
  const lastGood = new Map([...remembered.values()].flat().map((accepted) => [accepted.key, accepted]));
  const insteadOf: Instead = (key, document) => lastGood.get(key) ?? unknown(key, document);
  const rejections: Rejection[] = [];
  for (const file of files) {
    const content = readOne(join(directory, file), file, insteadOf, rejections);
    if (content !== undefined) remembered.set(file, content);
  }
  return merge(
    files.flatMap((file) => remembered.get(file) ?? []),
    rejections,
  );
}

/** Undefined: unreadable, what was known of the file stays. */
function readOne(
  path: string,
  file: string,
  insteadOf: Instead,
  rejections: Rejection[],
): FileContent | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    rejections.push({ origin: { file, document: 1, line: 1 }, object: 'file', field: '', reason });
    return undefined;
  }
  const read = readDocuments(file, text);
  rejections.push(...read.rejections);
  if (read.rejections.length > 0) return undefined;
  const content: Accepted[] = [];
  for (const document of read.documents) {
    const parsed = parseDocument(document);
    if (parsed.kind !== 'rejected') {
      content.push(parsed);
      continue;
    }
    rejections.push(...parsed.rejections);
    const instead = parsed.key === undefined ? undefined : insteadOf(parsed.key, document);
    if (instead !== undefined) content.push(instead);
  }
  return content;
}

/** One object per name: the first written counts, as it was there first. */
function merge(accepted: readonly Accepted[], rejections: readonly Rejection[]): Manifests {
  const byKey = new Map<string, Accepted>();
  const duplicates: Rejection[] = [];
  for (const one of accepted) {
    const first = byKey.get(one.key);
    if (first === undefined) {
      byKey.set(one.key, one);
      continue;
    }
    const reason = `is already written in ${first.origin.file}, document ${first.origin.document}`;
    duplicates.push({ origin: one.origin, object: one.key, field: 'metadata.name', reason });
  }
  const unique = [...byKey.values()];
  return {
    objects: unique.flatMap((one) => (one.kind === 'object' ? [one.object] : [])),
    others: unique.flatMap((one) =>
      one.kind === 'other'
        ? [{ apiVersion: one.apiVersion, objectKind: one.objectKind, value: one.value, origin: one.origin }]
        : [],
    ),
    rejections: [...rejections, ...duplicates],
  };
}

function manifestFiles(directory: string): string[] | undefined {
  try {
    return readdirSync(directory)
      .filter((file) => manifestFile.test(file))
      .sort();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new HadalError('ERR_SOURCE_DIRECTORY', `cannot read manifests from ${directory}`, { cause });
  }
}
