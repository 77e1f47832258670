/** Whether something is there, and whether it is what was there before. */
import { lstat, stat } from 'node:fs/promises';
import { HadalError } from '../../base/errors.ts';

/** Device and inode of a directory; undefined when there is none. */
export async function identityOf(directory: string): Promise<string | undefined> {
  try {
    const found = await stat(directory, { bigint: true });
    return found.isDirectory() ? `${found.dev} ${found.ino}` : undefined;
  } catch (caught) {
    const error = HadalError.from(caught, 'ERR_SOURCE_DIRECTORY', `reading ${directory}`);
    if (error.systemCode === 'ENOENT' || error.systemCode === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Also true of a link to nothing. */
export async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
