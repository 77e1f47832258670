import { mkdirSync } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { changeFrom, isEmptyChange } from '../model/change.ts';
import { emptySnapshot, type MeshSnapshot } from '../model/snapshot.ts';
import type { VersionedChange } from '../xds/versioned-change.ts';
import {
  decodeRecord,
  encodeRecord,
  type KeptMesh,
  KeptMeshBuilder,
  keptKinds,
  nameOf,
  recordsOf,
} from './kept-record.ts';

interface Waiting extends VersionedChange {
  /** After the change. */
  readonly snapshot: MeshSnapshot;
}

/** So long after a write that failed it is tried again, whether anything changes or not. */
const writeAgainMs = 2_000;
/** Below this a log is not worth being written anew. */
const smallestLogBytes = 256 * 1024;

/**
 * The last good mesh state on disk: a restarted agent goes on with it while its source is away or broken. Changes are appended
 * to a log some time after they came, those of policies at once; when the log has grown as large as the mesh it is replaced by
 * the mesh as a whole, so what is written stays in proportion to what changed.
 *
 * `N.base` is a whole mesh, `N.log` what came after it. A new base is made beside, synced and renamed before anything of the old
 * is removed; of a log counts what was written to its end. So an agent killed at any moment starts with a state that was in force.
 */
export class KeptState {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #delayMs: number;
  readonly #versions = {
    workloads: new Map<string, string>(),
    services: new Map<string, string>(),
    policies: new Map<string, string>(),
  };
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #log: FileHandle | undefined;
  #number = 0;
  #logBytes = 0;
  #baseBytes = 0;
  #generation = '';
  /** What is in force as far as it was handed to the disk. */
  #snapshot: MeshSnapshot = emptySnapshot;
  /** The log cannot be gone on with: something of it failed, or nobody has read it. */
  #needsBase = true;
  /** Something that is in force is not on disk. */
  #isBehind = false;
  #isClosed = false;

  constructor(directory: string, logger: Logger, delayMs = 500) {
    this.#directory = directory;
    this.#logger = logger;
    this.#delayMs = delayMs;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Undefined when there is none; throws when it cannot be read. Once, before anything is kept. */
  async read(): Promise<KeptMesh | undefined> {
    try {
      return await this.#read();
    } catch (caught) {
      throw HadalError.from(caught, 'ERR_KEPT_STATE', `reading ${this.#directory}`);
    }
  }

  keep(change: VersionedChange, snapshot: MeshSnapshot): void {
    if (isEmptyChange(change.change)) return;
    this.#waiting.push({ ...change, snapshot });
    // Open connections rest on them: an agent killed now must not begin by ending those that were just allowed, nor let in others.
    const { upserts, removals } = change.change.policies;
    if (upserts.length + removals.length > 0) void this.flush();
    else this.#flushIn(this.#delayMs);
  }

  /** Writes what waits to be written. Never rejects: a full disk must not end an agent. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing
      .then(() => this.#write())
      .catch((err: unknown) => {
        this.#logger.error(
          { err, path: this.#directory },
          'the mesh state could not be kept on disk; it is tried again',
        );
        if (!this.#isClosed) this.#flushIn(writeAgainMs);
      });
    return this.#writing;
  }

  #flushIn(delayMs: number): void {
    this.#timer ??= setTimeout(() => void this.flush(), delayMs);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    await this.#log?.close();
    this.#log = undefined;
  }

  async #read(): Promise<KeptMesh | undefined> {
    const numbers = await this.#numbers('base');
    this.#number = Math.max(0, ...numbers, ...(await this.#numbers('log')));
    const base = Math.max(0, ...numbers);
    const builder = new KeptMeshBuilder();
    const ofBase = base === 0 ? undefined : await readRecords(this.#path(base, 'base'), builder);
    if (ofBase?.isWhole === false)
      throw new HadalError('ERR_KEPT_STATE', `${this.#path(base, 'base')} is damaged; it is not used`);
    const logPath = this.#path(base, 'log');
    const ofLog = await readRecords(logPath, builder);
    if (ofBase === undefined && ofLog === undefined) return undefined;
    if (ofLog?.isWhole === false) await truncate(logPath, ofLog.bytes);
    this.#number = base;
    this.#baseBytes = ofBase?.bytes ?? 0;
    this.#logBytes = ofLog?.bytes ?? 0;
    this.#needsBase = false;
    const kept = builder.build();
    for (const kind of keptKinds)
      for (const [name, version] of kept.versions[kind]) this.#versions[kind].set(name, version);
    return kept;
  }

  async #write(): Promise<void> {
    const waiting = this.#waiting;
    const last = waiting.at(-1);
    if (last === undefined && !this.#isBehind) return;
    this.#waiting = [];
    this.#isBehind = true;
    if (last !== undefined) {
      this.#snapshot = last.snapshot;
      this.#generation = last.generation;
    }
    for (const each of waiting) this.#follow(each);
    if (!this.#needsBase) {
      // Until all of it is there the log is not to be gone on with.
      this.#needsBase = true;
      await this.#append(waiting);
      this.#needsBase = false;
    }
    if (this.#needsBase || this.#logBytes > Math.max(smallestLogBytes, this.#baseBytes))
      await this.#replace();
    this.#isBehind = false;
  }

  #follow({ change, versions }: VersionedChange): void {
    for (const kind of keptKinds) {
      for (const name of change[kind].removals) this.#versions[kind].delete(name);
      for (const resource of change[kind].upserts) {
        const name = nameOf(kind, resource);
        this.#versions[kind].set(name, versions[kind].get(name) ?? '');
      }
    }
  }

  async #append(changes: readonly Waiting[]): Promise<void> {
    this.#log ??= await open(this.#path(this.#number, 'log'), 'a', 0o600);
    for (const change of changes)
      this.#logBytes += await writeRecords(this.#log, change, change.snapshot.gonePolicies);
    await this.#log.datasync();
  }

  /** The mesh as it is now, under the next number; then everything older goes. */
  async #replace(): Promise<void> {
    const before = this.#number;
    const number = Math.max(before, ...(await this.#numbers('base')), ...(await this.#numbers('log'))) + 1;
    const path = this.#path(number, 'base');
    const temporary = `${path}.new`;
    try {
      const handle = await open(temporary, 'w', 0o600);
      try {
        this.#baseBytes = await writeRecords(handle, this.#whole(), this.#snapshot.gonePolicies);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
      await syncDirectory(this.#directory);
    } catch (caught) {
      await rm(temporary, { force: true });
      throw caught;
    }
    await this.#log?.close();
    this.#log = undefined;
    this.#number = number;
    this.#logBytes = 0;
    this.#needsBase = false;
    await this.#removeOlder(number);
  }

  #whole(): VersionedChange {
    const { workloads, services, policies } = this.#snapshot;
    const change = changeFrom({
      workloads: [...workloads.values()],
      services: [...services.values()],
      policies: [...policies.values()],
    });
    return { change, versions: this.#versions, generation: this.#generation };
  }

  async #removeOlder(number: number): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const of = /^(\d+)\.(?:base|log)(?:\.new)?$/.exec(name)?.[1];
      if (of !== undefined && Number(of) < number) await rm(join(this.#directory, name), { force: true });
    }
  }

  async #numbers(kind: 'base' | 'log'): Promise<number[]> {
    const names = await readdir(this.#directory);
    const pattern = kind === 'base' ? /^(\d+)\.base$/ : /^(\d+)\.log$/;
    return names.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number);
  }

  #path(number: number, kind: 'base' | 'log'): string {
    return join(this.#directory, `${number}.${kind}`);
  }
}

async function writeRecords(
  file: FileHandle,
  change: VersionedChange,
  gone: ReadonlySet<string>,
): Promise<number> {
  let bytes = 0;
  for (const record of recordsOf(change, gone)) {
    const line = Buffer.from(encodeRecord(record));
    await file.appendFile(line);
    bytes += line.length;
    // Other work has its turn while a large mesh is written.
    if (record.last !== true) await nextTurn();
  }
  return bytes;
}

/** Adds the changes that were written to their end. Undefined when there is no such file. */
async function readRecords(
  path: string,
  builder: KeptMeshBuilder,
): Promise<{ readonly bytes: number; readonly isWhole: boolean } | undefined> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (caught) {
    if ((caught as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw caught;
  }
  let complete = 0;
  for (let at = 0; at < content.length; ) {
    const end = content.indexOf('\n', at);
    const record = end < 0 ? undefined : decodeRecord(content.toString('utf8', at, end));
    if (record === undefined) break;
    at = end + 1;
    if (builder.add(record)) complete = at;
  }
  builder.drop();
  return { bytes: complete, isWhole: complete === content.length && complete > 0 };
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
