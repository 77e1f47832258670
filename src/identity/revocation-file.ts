/** A file of revocation lists that is followed while the agent runs. */
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { watchDirectory } from '../base/watch-directory.ts';
import { RevocationLists } from './revocation-lists.ts';

export interface RevocationFileOptions {
  readonly path: string;
  /** Called with the text and what it says, at the start and when it has changed. May throw: then the ones before hold. */
  readonly apply: (pem: string, lists: RevocationLists) => void;
  readonly logger: Logger;
  /** Istio's agents wait as long. Default 2 s. */
  readonly debounceMs?: number;
}

/** Resolves once the file was read for the first time. */
export async function followRevocationFile(options: RevocationFileOptions): Promise<Closeable> {
  const { path, apply, logger, debounceMs = 2_000 } = options;
  let text: string | undefined;
  let problem: string | undefined;
  const look = async () => {
    try {
      const found = await readFile(path, 'utf8');
      if (found === text && problem === undefined) return;
      const lists = RevocationLists.parse(found);
      apply(found, lists);
      text = found;
      problem = undefined;
      const { size: revoked, nextUpdate } = lists;
      logger.info({ path, revoked, nextUpdate: nextUpdate?.toISOString() }, 'took up the revocation lists');
      if (nextUpdate !== undefined && nextUpdate.getTime() < Date.now()) {
        logger.warn(
          { path, nextUpdate: nextUpdate.toISOString() },
          'a revocation list is older than it should be; it is honoured on',
        );
      }
    } catch (caught) {
      const err = HadalError.from(caught, 'ERR_IDENTITY_REVOCATION', `following ${path}`);
      // What stays wrong is said once. A file that vanished does not make anybody trusted again; an empty one does.
      if (err.message !== problem) {
        const next = text === undefined ? 'nobody counts as revoked' : 'the lists before hold on';
        logger.error({ err, path }, `no revocation list can be read; ${next}`);
      }
      problem = err.message;
    }
  };
  await look();
  return watchDirectory(dirname(path), { debounceMs }, look);
}
