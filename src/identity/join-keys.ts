/**
 * The list of join keys: a directory with one file for each token that was made, `<id>.json`, the public half of its key and the
 * node that it is for. A file is read when its token is shown, so a token is revoked by removing its file, at once.
 */
import { createPublicKey } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { JoinKey } from './join-token.ts';
import { parseObject } from './signing-wire.ts';

/** Where a control plane keeps them. */
export function joinKeyDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'join-keys');
}

/** What a token says becomes the name of a file. */
const idPattern = /^[0-9a-f]{24}$/;
const suffix = '.json';

export class JoinKeys {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Undefined when there is none; ERR_IDENTITY_JOIN_KEY when its file says something else. */
  async find(id: string): Promise<JoinKey | undefined> {
    if (!idPattern.test(id)) return undefined;
    try {
      return parseKey(id, await readFile(this.#path(id), 'utf8'));
    } catch (error) {
      const failure = HadalError.from(error, 'ERR_IDENTITY_JOIN_KEY', `reading ${this.#path(id)}`);
      if (failure.systemCode === 'ENOENT') return undefined;
      throw failure;
    }
  }

  /** All that can be read, the next to end first. */
  async list(): Promise<JoinKey[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      const failure = HadalError.from(error, 'ERR_IDENTITY_JOIN_KEY', `listing ${this.directory}`);
      if (failure.systemCode === 'ENOENT') return [];
      throw failure;
    });
    const ids = names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
    const keys = await Promise.all(ids.map((id) => this.find(id)));
    return keys.filter((key) => key !== undefined).sort((a, b) => a.expiresAt - b.expiresAt);
  }

  async add(key: JoinKey): Promise<void> {
    const path = this.#path(key.id);
    const text = JSON.stringify({
      version: 1,
      node: key.node,
      expires: new Date(key.expiresAt).toISOString(),
      publicKey: key.publicKey.export({ type: 'spki', format: 'pem' }),
    });
    try {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      await writeFile(`${path}.new`, `${text}\n`, { mode: 0o600, flag: 'wx' });
      await rename(`${path}.new`, path);
    } catch (error) {
      throw HadalError.from(error, 'ERR_IDENTITY_JOIN_KEY', `keeping the join key ${path}`);
    }
  }

  /** False when there was none. */
  async remove(id: string): Promise<boolean> {
    if ((await this.find(id)) === undefined) return false;
    await rm(this.#path(id), { force: true });
    return true;
  }

  /** Removes those that have ended; how many. */
  async removeExpired(now = Date.now()): Promise<number> {
    const expired = (await this.list()).filter((key) => key.expiresAt <= now);
    for (const { id } of expired) await this.remove(id);
    return expired.length;
  }

  #path(id: string): string {
    return join(this.directory, `${id}${suffix}`);
  }
}

function parseKey(id: string, text: string): JoinKey {
  const { version, node, expires, publicKey } = parseObject(text) ?? {};
  const expiresAt = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
  if (version !== 1 || typeof node !== 'string' || typeof publicKey !== 'string' || Number.isNaN(expiresAt)) {
    throw new HadalError(
      'ERR_IDENTITY_JOIN_KEY',
      'it is no join key of version 1; remove it and make another token',
    );
  }
  const key = createPublicKey(publicKey);
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new HadalError('ERR_IDENTITY_JOIN_KEY', `its key is ${key.asymmetricKeyType}, expected Ed25519`);
  }
  return Object.freeze({ id, node, publicKey: key, expiresAt });
}
