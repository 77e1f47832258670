import { type FSWatcher, watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { keepLastGood, parseStateFile, type StateFileProblem } from '../source/state-file.ts';

export interface MeshStateOptions {
  readonly path: string;
  /** Good before, from disk; what holds until the file says something else. */
  readonly kept: MeshResources | undefined;
  readonly onState: (resources: MeshResources) => void;
  readonly logger: Logger;
}

export interface MeshStateStatus {
  readonly path: string;
  /** When the file was applied last, ISO 8601; undefined when it never was. */
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

/** The mesh state from a file that is watched. A broken file changes nothing, a broken resource only itself. */
export class MeshState implements Closeable {
  readonly #options: MeshStateOptions;
  #resources: MeshResources;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> = Promise.resolve();
  #seen = '';
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
    return { path: this.#options.path, ...this.#status };
  }

  /** Reads the file once and watches it from then on. Resolves also when it is broken: then the kept state holds. */
  async start(): Promise<void> {
    this.#watch();
    await this.#read();
    if (this.#status.appliedAt === undefined && this.#options.kept !== undefined) {
      this.#options.onState(this.#options.kept);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
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
    try {
      const { ino, size, mtimeMs } = await stat(path);
      const version = `${ino} ${size} ${mtimeMs}`;
      if (version === this.#seen) return;
      this.#seen = version;
      this.#apply(await readFile(path, 'utf8'));
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_STATE_FILE', `reading ${path}`);
      if (error.message === this.#status.error) return;
      this.#status = { ...this.#status, error: error.message, rejected: this.#status.rejected + 1 };
      logger.error({ err: error }, 'the state file is not applied; what held before holds on');
    }
  }

  #apply(text: string): void {
    const { onState, logger } = this.#options;
    const content = parseStateFile(text);
    this.#resources = keepLastGood(content, this.#resources);
    this.#tell(content.problems);
    const rejected = this.#status.rejected + content.problems.length;
    const problems = content.problems.map(({ message }) => message);
    this.#status = { appliedAt: new Date().toISOString(), error: undefined, problems, rejected };
    const { workloads, services, policies } = this.#resources;
    logger.info(
      { workloads: workloads.length, services: services.length, policies: policies.length },
      'mesh state applied',
    );
    onState(this.#resources);
  }

  #tell(problems: readonly StateFileProblem[]): void {
    for (const { resource, field, line, message } of problems) {
      this.#options.logger.error({ resource, field, line }, `${message}; its last good version stays`);
    }
  }
}
