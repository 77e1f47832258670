import { mkdirSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { createAuthorization } from '../model/authorization.ts';
import { createService } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import { createWorkload } from '../model/workload.ts';

const version = 1;

/**
 * The last good mesh state on disk: a restarted agent goes on with it while its source is away or broken. Written some time
 * after a change, by rename; an agent killed before that starts with the state before.
 */
export class KeptState {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #delayMs: number;
  #next: MeshResources | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, logger: Logger, delayMs = 500) {
    this.#path = path;
    this.#logger = logger;
    this.#delayMs = delayMs;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  }

  /** Undefined when there is none; throws when it cannot be read. */
  async read(): Promise<MeshResources | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw HadalError.from(caught, 'ERR_KEPT_STATE', `reading ${this.#path}`);
    }
    try {
      return fromFile(JSON.parse(text) as KeptFile);
    } catch (caught) {
      throw HadalError.from(caught, 'ERR_KEPT_STATE', `reading ${this.#path}`);
    }
  }

  keep(resources: MeshResources): void {
    this.#next = resources;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, this.#delayMs);
    this.#timer.unref();
  }

  /** Writes what waits to be written. Never rejects: a full disk must not end an agent. */
  flush(): Promise<void> {
    this.#writing = this.#writing
      .then(() => this.#write())
      .catch((err: unknown) => {
        this.#logger.error({ err, path: this.#path }, 'the mesh state could not be kept on disk');
      });
    return this.#writing;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.flush();
  }

  async #write(): Promise<void> {
    const resources = this.#next;
    if (resources === undefined) return;
    this.#next = undefined;
    const temporary = `${this.#path}.new`;
    try {
      const handle = await open(temporary, 'w', 0o600);
      try {
        await handle.writeFile(pieces(resources));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, this.#path);
    } catch (caught) {
      await rm(temporary, { force: true });
      throw caught;
    }
  }
}

const pieceSize = 500;

/** One JSON document; other work has its turn while a large mesh is written. */
async function* pieces(resources: MeshResources): AsyncGenerator<string> {
  let before = `{"version":${version}`;
  for (const kind of ['workloads', 'services', 'policies'] as const) {
    yield `${before},"${kind}":[`;
    const all: readonly unknown[] = resources[kind];
    for (let at = 0; at < all.length; at += pieceSize) {
      const piece = all.slice(at, at + pieceSize).map((each) => JSON.stringify(each));
      yield `${at === 0 ? '' : ','}${piece.join(',')}`;
      await nextTurn();
    }
    before = ']';
  }
  yield `${before}}`;
}

interface KeptFile extends MeshResources {
  readonly version: number;
}

/** JSON leaves out what is undefined; the constructors put it back. */
function fromFile(file: KeptFile): MeshResources {
  if (file.version !== version) {
    throw new HadalError(
      'ERR_KEPT_STATE',
      `version ${String(file.version)} is not ${version}, which this agent writes`,
    );
  }
  return Object.freeze({
    workloads: Object.freeze(file.workloads.map(createWorkload)),
    services: Object.freeze(
      file.services.map((service) =>
        createService({
          ...service,
          addresses: service.addresses.map((each) => Object.freeze({ ...each, length: each.length })),
        }),
      ),
    ),
    policies: Object.freeze(file.policies.map(createAuthorization)),
  });
}
