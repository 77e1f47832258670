import { type FSWatcher, watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { keepLastGood, type StateFileContent, type StateFileProblem } from '../source/state-file.ts';
import { StateReader } from '../source/state-reader.ts';

export interface MeshStateOptions {
  readonly path: string;
  /** Good before, from disk; what holds until the file says something else. */
  readonly kept: MeshResources | undefined;
  /** Puts it in force. What fails is tried again: the file is good, and half of it must not be all that holds. */
  readonly onState: (resources: MeshResources) => void | Promise<void>;
  readonly logger: Logger;
}

export interface MeshStateStatus {
  readonly path: string;
  /** Since when what the file says is in force, ISO 8601; undefined when it never was. */
  readonly appliedAt: string | undefined;
  /** Why the file as it is now is not applied. */
  readonly error: string | undefined;
  /** Resources of it that are rejected alone. */
  readonly problems: readonly string[];
  /** Files and resources rejected since the start. */
  readonly rejected: number;
}

const nothing: MeshResources = { workloads: [], services: [], policies: [] };
/** Editors and copies write in pieces; so long after the last event the file is read. */
const settleMs = 30;
/** So long after the state could not be put in force it is tried again. */
const enforceAgainMs = 1_000;

/** The mesh state from a file that is watched. A broken file changes nothing, a broken resource only itself. */
export class MeshState implements Closeable {
  readonly #options: MeshStateOptions;
  readonly #reader = new StateReader();
  readonly #closing = new AbortController();
  #resources: MeshResources;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #reading: Promise<void> = Promise.resolve();
  #seen = '';
  /** The file was good at least once: what holds is its. */
  #isFromFile = false;
  /** Why a part of what was read is not in force. */
  #failure: string | undefined;
  #status: Omit<MeshStateStatus, 'path'> = {
    appliedAt: undefined,
    error: undefined,
    problems: [],
    rejected: 0,
  };

  constructor(options: MeshStateOptions) {
    this.#options = options;
    this.#resources = options.kept ?? nothing;
  }

  get status(): MeshStateStatus {
    return { path: this.#options.path, ...this.#status, error: this.#status.error ?? this.#failure };
  }

  /** Reads the file once and watches it from then on. Resolves also when it is broken: then the kept state holds. */
  async start(): Promise<void> {
    this.#watch();
    await this.#read();
    if (!this.#isFromFile && this.#options.kept !== undefined) await this.#enforce();
  }

  close(): void {
    this.#closing.abort(new HadalError('ERR_DRAINING', 'the agent is ending'));
    clearTimeout(this.#timer);
    clearTimeout(this.#again);
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** The directory, because a file that is replaced by rename is another file. */
  #watch(): void {
    const directory = dirname(this.#options.path);
    try {
      this.#watcher = watch(directory, { persistent: false }, () => this.#soon());
      this.#watcher.on('error', (err) => {
        this.#options.logger.error(
          { err, directory },
          'the state file is not watched any more; restart the agent to apply changes',
        );
      });
    } catch (caught) {
      throw HadalError.from(caught, 'ERR_STATE_FILE', `watching ${directory}`);
    }
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#read(), settleMs);
  }

  #read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readNow());
    return this.#reading;
  }

  async #readNow(): Promise<void> {
    const { path, logger } = this.#options;
    const { signal } = this.#closing;
    if (signal.aborted) return;
    let content: StateFileContent;
    try {
      const { ino, size, mtimeMs } = await stat(path);
      const version = `${ino} ${size} ${mtimeMs}`;
      if (version === this.#seen) return;
      const text = await readFile(path, 'utf8');
      // Only now: a file that could not be read is to be read again, one that is broken is not.
      this.#seen = version;
      content = await this.#reader.read(text, signal);
    } catch (caught) {
      if (signal.aborted) return;
      const error = HadalError.from(caught, 'ERR_STATE_FILE', `reading ${path}`);
      if (error.message === this.#status.error) return;
      this.#status = { ...this.#status, error: error.message, rejected: this.#status.rejected + 1 };
      logger.error({ err: error }, 'the state file is not applied; what held before holds on');
      return;
    }
    await this.#apply(content);
  }

  async #apply(content: StateFileContent): Promise<void> {
    for (const kind of content.missing.filter((each) => this.#resources[each].length > 0)) {
      this.#options.logger.warn(
        { kind, kept: this.#resources[kind].length },
        `the state file says nothing of ${kind}; those known stay. To end them all write ${kind}: []`,
      );
    }
    this.#resources = keepLastGood(content, this.#resources);
    this.#tell(content.problems);
    const rejected = this.#status.rejected + content.problems.length;
    const problems = content.problems.map(({ message }) => message);
    this.#status = { ...this.#status, error: undefined, problems, rejected };
    this.#isFromFile = true;
    await this.#enforce();
  }

  async #enforce(): Promise<void> {
    const { onState, logger, path } = this.#options;
    clearTimeout(this.#again);
    const { workloads, services, policies } = this.#resources;
    try {
      await onState(this.#resources);
      this.#failure = undefined;
      if (this.#isFromFile) this.#status = { ...this.#status, appliedAt: new Date().toISOString() };
      logger.info(
        { workloads: workloads.length, services: services.length, policies: policies.length },
        'mesh state applied',
      );
    } catch (caught) {
      if (this.#closing.signal.aborted) return;
      const error = HadalError.from(caught, 'ERR_STATE_FILE', `putting the state of ${path} in force`);
      if (error.message !== this.#failure)
        logger.error(
          { err: error },
          'a part of the mesh state is not in force; it is tried again every second',
        );
      this.#failure = error.message;
      this.#again = setTimeout(() => {
        this.#reading = this.#reading.then(() => this.#enforce());
      }, enforceAgainMs);
      this.#again.unref();
    }
  }

  #tell(problems: readonly StateFileProblem[]): void {
    for (const { resource, field, line, message } of problems) {
      this.#options.logger.error({ resource, field, line }, `${message}; its last good version stays`);
    }
  }
}
