/** A directory of manifests as a source of objects: watched, and of its files only those read again whose stat changed. */
import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { abortedError } from '../../base/abort.ts';
import { HadalError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { LastGoodObjects } from '../last-good.ts';
import type { ObjectChange, ObjectId, ObjectSource, RejectedObject, SourceStatus } from '../object-source.ts';
import { identityOf, isThere } from './file-identity.ts';
import { ManifestFiles } from './manifest-files.ts';

export interface DirectorySourceOptions {
  readonly directory: string;
  readonly logger: Logger;
  /** What the process before this one knew of objects that are bad. Default: nothing, and nothing is kept. */
  readonly lastGood?: LastGoodObjects;
  /** How often the directory itself is looked at, and after which time all of its files are. Defaults 1,000 and 15,000. */
  readonly lookMs?: number;
  readonly sweepMs?: number;
}

/** Files as `kubectl apply -f DIR` takes them: not recursive. */
const manifestFile = /\.(ya?ml|json)$/;
/** A file that came by rename is whole. */
const renamedMs = 3;
/** One that is written in place may be written in several steps. */
const writtenMs = 50;
const longestMs = 200;
const together = 32;

export class DirectorySource implements ObjectSource {
  readonly #options: Required<Omit<DirectorySourceOptions, 'lastGood'>>;
  readonly #lastGood: LastGoodObjects | undefined;
  #files = new ManifestFiles();
  /** As reported: only what a restart knows of as well. */
  #rejected: readonly RejectedObject[] = [];
  /** What a file looked like when it was read. */
  readonly #seen = new Map<string, string>();
  readonly #waiting = new Set<string>();
  #onChange: (change: ObjectChange) => void = () => {};
  #onVerdict: (ids: readonly ObjectId[]) => void = () => {};
  #watcher: FSWatcher | undefined;
  /** Device and inode of the directory that is watched. */
  #watched: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #firstAt = 0;
  #dueAt = 0;
  #look: NodeJS.Timeout | undefined;
  #sweptAt = 0;
  #work: Promise<void> = Promise.resolve();
  #isSynced = false;
  readonly #synced = Promise.withResolvers<void>();
  readonly #closing = new AbortController();
  #error: string | undefined;
  #toldRejected = new Set<string>();
  #read = 0;

  constructor({ lastGood, ...options }: DirectorySourceOptions) {
    this.#options = { lookMs: 1_000, sweepMs: 15_000, ...options };
    this.#lastGood = lastGood;
  }

  /** Files read since the start. */
  get filesRead(): number {
    return this.#read;
  }

  get status(): SourceStatus {
    return {
      name: `directory ${this.#options.directory}`,
      isSynced: this.#isSynced,
      rejected: this.#rejected,
      error: this.#error,
      problems: this.#lastGood?.problem === undefined ? [] : [this.#lastGood.problem],
    };
  }

  /** Waits while a file cannot be read of which nobody knows what it held: the rest must not be taken for the whole. */
  async start(
    onChange: (change: ObjectChange) => void,
    onVerdict: (ids: readonly ObjectId[]) => void = () => {},
  ): Promise<void> {
    const { directory, lookMs } = this.#options;
    const { signal } = this.#closing;
    this.#onChange = onChange;
    this.#onVerdict = onVerdict;
    this.#synced.promise.catch(() => {});
    signal.addEventListener('abort', () => this.#synced.reject(abortedError(signal, `reading ${directory}`)));
    const record = await this.#lastGood?.load(signal);
    this.#files = new ManifestFiles(record);
    await this.#run(() => this.#lookAtDirectory());
    if (this.#watched === undefined) {
      throw new HadalError(
        'ERR_SOURCE_DIRECTORY',
        `there is no directory ${directory}; name one with manifests (*.yaml, *.json)`,
      );
    }
    this.#look = setInterval(() => void this.#run(() => this.#lookAtDirectory()), lookMs);
    this.#look.unref();
    await this.#synced.promise;
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the source is closed'));
    clearTimeout(this.#timer);
    clearInterval(this.#look);
    this.#watcher?.close();
    await this.#work;
  }

  /** One thing at a time; what fails is told and tried again at the next look. */
  #run(step: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(async () => {
      if (this.#closing.signal.aborted) return;
      try {
        await step();
      } catch (caught) {
        this.#fail(HadalError.from(caught, 'ERR_SOURCE_DIRECTORY', `reading ${this.#options.directory}`));
      }
    });
    return this.#work;
  }

  /** Finds out whether it is still the same directory, and looks through all of its files now and then. */
  async #lookAtDirectory(): Promise<void> {
    const { directory, sweepMs } = this.#options;
    const identity = await identityOf(directory);
    if (identity === undefined) {
      this.#unwatch();
      this.#fail(
        new HadalError(
          'ERR_SOURCE_DIRECTORY',
          `there is no directory ${directory} any more; what it held stays in force. Make it again to go on`,
        ),
      );
      return;
    }
    const isOther = identity !== this.#watched;
    if (isOther) this.#watch(identity);
    if (isOther || this.#error !== undefined || performance.now() - this.#sweptAt > sweepMs)
      await this.#sweep();
  }

  #watch(identity: string): void {
    this.#unwatch();
    const { directory } = this.#options;
    this.#watcher = watch(directory, { persistent: false }, (event, name) => this.#onEvent(event, name));
    this.#watcher.on('error', () => this.#unwatch());
    this.#watched = identity;
    // It may be another directory by the path of the one before.
    this.#seen.clear();
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
  }

  #onEvent(event: string, name: string | null): void {
    if (name !== null && manifestFile.test(name)) {
      this.#waiting.add(name);
      this.#soon(event === 'rename' ? renamedMs : writtenMs, () => this.#readWaiting());
    } else if (name === null || name.startsWith('..') || name === basename(this.#options.directory)) {
      // A mounted ConfigMap changes by its `..data`; the directory's own name means that it goes.
      this.#sweptAt = Number.NEGATIVE_INFINITY;
      this.#soon(renamedMs, () => this.#lookAtDirectory());
    }
  }

  /** Waits for quiet, but no longer than `longestMs` after the first event. */
  #soon(delayMs: number, step: () => Promise<void>): void {
    const now = performance.now();
    if (this.#timer === undefined) this.#firstAt = now;
    else if (this.#dueAt >= now + delayMs) return;
    clearTimeout(this.#timer);
    this.#dueAt = Math.min(now + delayMs, this.#firstAt + longestMs);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#run(step);
    }, this.#dueAt - now);
  }

  async #readWaiting(): Promise<void> {
    const names = [...this.#waiting];
    this.#waiting.clear();
    await this.#readFiles(names);
    await this.#tell();
  }

  async #sweep(): Promise<void> {
    const names = (await readdir(this.#options.directory)).filter((name) => manifestFile.test(name)).sort();
    const there = new Set(names);
    for (const known of this.#files.names) if (!there.has(known)) this.#forget(known);
    await this.#readFiles(names);
    this.#sweptAt = performance.now();
    if (this.#files.unknown.length === 0) this.#error = undefined;
    await this.#tell();
  }

  async #readFiles(names: readonly string[]): Promise<void> {
    for (let at = 0; at < names.length && !this.#closing.signal.aborted; at += together) {
      await Promise.all(names.slice(at, at + together).map((name) => this.#readFile(name)));
    }
  }

  async #readFile(name: string): Promise<void> {
    const path = join(this.#options.directory, name);
    try {
      const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      const version = `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
      if (this.#seen.get(name) === version) return;
      const text = await readFile(path, 'utf8');
      // Only now: what could not be read is to be read again.
      this.#seen.set(name, version);
      this.#read += 1;
      this.#files.read(name, text);
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_SOURCE_DIRECTORY');
      // A link to nothing is there, and cannot be read.
      if (error.systemCode === 'ENOENT' && !(await isThere(path))) this.#forget(name);
      else this.#files.unreadable(name, error.message);
    }
  }

  #forget(name: string): void {
    this.#seen.delete(name);
    this.#files.remove(name);
  }

  async #tell(): Promise<void> {
    const { unknown } = this.#files;
    this.#logRejected();
    if (unknown.length > 0) {
      this.#rejected = this.#files.rejected;
      this.#fail(this.#unknownError(unknown));
      return;
    }
    const isFirst = !this.#isSynced;
    this.#isSynced = true;
    const change = this.#files.take();
    // Before anybody is told: whoever starts after a crash must know no less than agents do.
    const { rejected } = this.#files;
    await this.#lastGood?.save(this.#files.record);
    this.#rejected = rejected;
    if (change.upserts.length + change.removals.length > 0 && !this.#closing.signal.aborted)
      this.#onChange(change);
    if (isFirst) this.#synced.resolve();
  }

  #unknownError(unknown: readonly RejectedObject[]): HadalError {
    const files = unknown.map(({ origin, reason }) => `${origin}: ${reason}`).join('; ');
    return new HadalError(
      'ERR_SOURCE_DIRECTORY',
      `what ${this.#options.directory} holds is not known as a whole, so nothing is told and agents keep what they have: ${files}. Correct it, or take the file away, to go on`,
    );
  }

  #logRejected(): void {
    const rejected = this.#files.rejected;
    if (rejected.length === 0 && this.#toldRejected.size === 0) return;
    const now = new Set(rejected.map((each) => JSON.stringify(each)));
    const fresh = rejected.filter((each) => !this.#toldRejected.has(JSON.stringify(each)));
    for (const each of fresh) this.#options.logger.error(each, 'an object is rejected');
    this.#toldRejected = now;
    const ids = fresh.flatMap(({ id }) => id ?? []);
    if (ids.length > 0) this.#onVerdict(ids);
  }

  #fail(error: HadalError): void {
    if (this.#error !== error.message)
      this.#options.logger.error({ err: error }, 'the source cannot be read');
    this.#error = error.message;
  }
}
