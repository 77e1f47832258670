/**
 * The last good versions of objects whose newest one is bad, kept where a restart and other replicas find them. Without them a
 * policy that was spoilt by an edit would be gone for whoever starts after it, and what it forbade would be let in.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { HadalError } from '../base/errors.ts';
import { type KnownObject, parseDocument } from './kubernetes/objects.ts';
import type { ObjectId } from './object-source.ts';

export interface LastGood {
  readonly id: ObjectId;
  /** Undefined: it was seen from its first version on and never good, so nothing of it is in force. */
  readonly object: KnownObject | undefined;
  /** Of the object in its API server: one of the same name that came later is another. Empty in a directory. */
  readonly uid: string;
  /** Where it is written, in a directory. */
  readonly file?: string;
}

export interface LastGoodRecord {
  readonly objects: readonly LastGood[];
  /** Files that could not be read as a whole, and all of whose last good objects are among `objects`. */
  readonly files: readonly string[];
}

export interface LastGoodObjects {
  /** Never rejects but by `signal`: a record that is broken or may not be read is a `problem`, and counts as nothing known. */
  load(signal: AbortSignal): Promise<LastGoodRecord>;
  /** This, and nothing of before. Never rejects; what could not be kept is a `problem`. */
  save(record: LastGoodRecord): Promise<void>;
  /** Why the next start may not know what this one does; a sentence with the next step. */
  readonly problem: string | undefined;
}

export const emptyRecord: LastGoodRecord = Object.freeze({
  objects: Object.freeze([]),
  files: Object.freeze([]),
});

const recordVersion = 1;

const content = z.strictObject({
  objects: z.array(
    z.strictObject({
      id: z.string().min(1),
      uid: z.string().default(''),
      file: z.string().optional(),
      object: z.unknown().optional(),
    }),
  ),
  files: z.array(z.string()),
});
const record = z.object({ version: z.literal(recordVersion), checksum: z.string(), content });

/** What is known together or not at all. */
interface Unit {
  readonly objects: readonly LastGood[];
  readonly file: string | undefined;
}

/** As text of `maxBytes` at most. What does not fit is left out, policies last, and named. */
export function formatRecord(
  known: LastGoodRecord,
  maxBytes: number,
): { readonly text: string; readonly leftOut: readonly string[] } {
  const kept: Unit[] = [];
  const leftOut: string[] = [];
  let bytes = 256;
  for (const unit of unitsOf(known)) {
    const more = Buffer.byteLength(JSON.stringify(unit)) + 8;
    if (bytes + more > maxBytes) {
      leftOut.push(unit.file ?? unit.objects[0]?.id ?? '');
      continue;
    }
    bytes += more;
    kept.push(unit);
  }
  const body = {
    objects: kept.flatMap(({ objects }) => objects).sort((left, right) => (left.id < right.id ? -1 : 1)),
    files: kept.flatMap(({ file }) => file ?? []).sort(),
  };
  const text = JSON.stringify({ version: recordVersion, checksum: checksumOf(body), content: body });
  return { text, leftOut };
}

/** Throws when the text as a whole is not a record. Objects that this version does not understand are left out, and named. */
export function parseRecord(text: string): {
  readonly record: LastGoodRecord;
  readonly leftOut: readonly string[];
} {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new HadalError('ERR_LAST_GOOD', 'is not JSON', { cause });
  }
  const parsed = record.safeParse(value);
  if (!parsed.success)
    throw new HadalError('ERR_LAST_GOOD', `is no record: ${z.prettifyError(parsed.error)}`);
  if (parsed.data.checksum !== checksumOf((value as { content: unknown }).content))
    throw new HadalError('ERR_LAST_GOOD', 'is damaged: its checksum is of another content');
  const { objects, files } = parsed.data.content;
  const leftOut: string[] = [];
  const spoilt = new Set<string>();
  const read = objects.flatMap(({ id, uid, file, object }): LastGood[] => {
    const place = file === undefined ? {} : { file };
    if (object === undefined) return [{ id, uid, object: undefined, ...place }];
    const again = parseDocument({ origin: { file: id, document: 1, line: 1 }, value: object });
    if (again.kind === 'object' && again.key === id) return [{ id, uid, object: again.object, ...place }];
    leftOut.push(id);
    if (file !== undefined) spoilt.add(file);
    return [];
  });
  return { record: { objects: read, files: files.filter((file) => !spoilt.has(file)) }, leftOut };
}

/** Those that say who may connect come first. */
function unitsOf({ objects, files }: LastGoodRecord): Unit[] {
  const whole = files.map((file) => ({ file, objects: objects.filter((each) => each.file === file) }));
  const single = objects
    .filter(({ file }) => file === undefined || !files.includes(file))
    .map((each) => ({ file: undefined, objects: [each] }));
  const isSecurity = (unit: Unit) => unit.objects.some(({ id }) => id.startsWith('security.istio.io/'));
  const all: Unit[] = [...single, ...whole];
  return [...all.filter(isSecurity), ...all.filter((unit) => !isSecurity(unit))];
}

function checksumOf(body: unknown): string {
  return hash('sha256', JSON.stringify(body), 'base64url');
}
