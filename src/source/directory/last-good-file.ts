/** The record of last good versions as a file of the control plane's state directory: written beside, synced, renamed. */
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import {
  emptyRecord,
  formatRecord,
  type LastGoodObjects,
  type LastGoodRecord,
  parseRecord,
} from '../last-good.ts';

export interface LastGoodFileOptions {
  readonly path: string;
  readonly logger: Logger;
  /** Default 16 MiB. */
  readonly maxBytes?: number;
}

export class LastGoodFile implements LastGoodObjects {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #maxBytes: number;
  /** What the file says; undefined when that is not known. */
  #saved: string | undefined;
  #problem: string | undefined;

  constructor({ path, logger, maxBytes = 16 << 20 }: LastGoodFileOptions) {
    this.#path = path;
    this.#logger = logger;
    this.#maxBytes = maxBytes;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  async load(): Promise<LastGoodRecord> {
    try {
      const { size } = await stat(this.#path);
      if (size > this.#maxBytes)
        throw new HadalError(
          'ERR_LAST_GOOD',
          `has ${size} bytes, more than the ${this.#maxBytes} it may have`,
        );
      const text = await readFile(this.#path, 'utf8');
      const { record, leftOut } = parseRecord(text);
      for (const id of leftOut)
        this.#logger.error({ object: id, path: this.#path }, 'a last good version is not understood');
      this.#saved = text;
      return record;
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_LAST_GOOD');
      if (error.systemCode === 'ENOENT') {
        this.#saved = '';
        return emptyRecord;
      }
      // The problem of this start, not of the next: what is known from now on is written over it.
      this.#logger.error(
        { err: error, path: this.#path },
        'the last good versions of rejected objects cannot be read, so none is known; correct the objects that are rejected',
      );
      return emptyRecord;
    }
  }

  /** On disk when it resolves: what is told to agents after that has been written before. */
  async save(record: LastGoodRecord): Promise<void> {
    const isEmpty = record.objects.length === 0 && record.files.length === 0;
    const { text, leftOut } = isEmpty ? { text: '', leftOut: [] } : formatRecord(record, this.#maxBytes);
    if (text === this.#saved) return;
    try {
      await (isEmpty ? this.#remove() : this.#write(text));
      this.#saved = text;
      this.#tell(
        leftOut.length === 0
          ? undefined
          : `the last good versions of ${leftOut.slice(0, 3).join(', ')} and what else does not fit in ${this.#maxBytes} bytes are not in ${this.#path}, and a restart does not know them; correct what is rejected`,
      );
    } catch (caught) {
      this.#saved = undefined;
      const { message } = HadalError.from(caught, 'ERR_LAST_GOOD', `writing ${this.#path}`);
      this.#tell(
        `the last good versions of rejected objects could not be kept, and a restart does not know them: ${message}; is the disk full or read-only?`,
      );
    }
  }

  #tell(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#problem) this.#logger.error(problem);
    this.#problem = problem;
  }

  async #write(text: string): Promise<void> {
    const temporary = `${this.#path}.new`;
    try {
      const handle = await open(temporary, 'w', 0o600);
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, this.#path);
      await this.#syncDirectory();
    } catch (caught) {
      await rm(temporary, { force: true });
      throw caught;
    }
  }

  async #remove(): Promise<void> {
    await rm(this.#path, { force: true });
    await this.#syncDirectory();
  }

  async #syncDirectory(): Promise<void> {
    const handle = await open(dirname(this.#path), 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
