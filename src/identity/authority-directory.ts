/** Where an authority's key comes from: a plugged-in `cacerts` directory, or a self-signed root that is made once and kept. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HadalError, isHadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { Authority, type AuthorityMaterial, type AuthorityOptions } from './authority.ts';
import { issueRoot } from './certificate.ts';
import { keyToPem } from './keys.ts';

const rootLifetimeMs = 3650 * 24 * 3_600_000;

export interface SelfSignedOptions extends AuthorityOptions {
  /** Default 10 years. */
  readonly rootLifetimeMs?: number;
}

/** An authority from `ca-cert.pem`, `ca-key.pem`, `root-cert.pem` and, below a root, `cert-chain.pem`. */
export async function openAuthority(
  directory: string,
  options: AuthorityOptions,
  logger?: Logger,
): Promise<Authority> {
  const material = await readMaterial(directory);
  await warnIfKeyIsOpen(directory, logger);
  return new Authority(material, options);
}

/** The authority kept in `directory`; the first call makes a self-signed root there, its key with mode 0600. */
export async function openSelfSignedAuthority(
  directory: string,
  options: SelfSignedOptions,
  logger?: Logger,
): Promise<Authority> {
  try {
    return await openAuthority(directory, options, logger);
  } catch (error) {
    if (!(isHadalError(error) && error.code === 'ERR_IDENTITY_NO_AUTHORITY')) throw error;
  }
  const fresh = await writeSelfSigned(directory, options);
  logger?.info(
    { directory, made: fresh },
    fresh ? 'made a self-signed root' : 'another process made the root',
  );
  return openAuthority(directory, options, logger);
}

/** False when another process was first. The directory appears at once with all its files, or not. */
async function writeSelfSigned(directory: string, options: SelfSignedOptions): Promise<boolean> {
  const now = options.now?.() ?? Date.now();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificate = await issueRoot(options.trustDomains[0] ?? 'cluster.local', privateKey, {
    notBefore: new Date(now - (options.clockSkewMs ?? 120_000)),
    notAfter: new Date(now + (options.rootLifetimeMs ?? rootLifetimeMs)),
  });
  await mkdir(dirname(directory), { recursive: true });
  const draft = await mkdtemp(`${directory}.new-`);
  try {
    await writeFile(join(draft, 'ca-key.pem'), keyToPem(privateKey), { mode: 0o600 });
    for (const name of ['ca-cert.pem', 'root-cert.pem', 'cert-chain.pem']) {
      await writeFile(join(draft, name), certificate, { mode: 0o644 });
    }
    await rename(draft, directory);
    return true;
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (await exists(join(directory, 'ca-key.pem'))) return false;
    throw HadalError.from(error, 'ERR_IDENTITY_AUTHORITY', `keeping a self-signed root in ${directory}`);
  }
}

async function readMaterial(source: string): Promise<AuthorityMaterial> {
  const [certificate, privateKey, roots, chain] = await Promise.all([
    readOptional(join(source, 'ca-cert.pem')),
    readOptional(join(source, 'ca-key.pem')),
    readOptional(join(source, 'root-cert.pem')),
    readOptional(join(source, 'cert-chain.pem')),
  ]);
  const missing = Object.entries({
    'ca-cert.pem': certificate,
    'ca-key.pem': privateKey,
    'root-cert.pem': roots,
  })
    .filter(([, text]) => text === undefined)
    .map(([name]) => name);
  if (certificate !== undefined && privateKey !== undefined && roots !== undefined) {
    return { source, certificate, privateKey, roots, chain: chain ?? '' };
  }
  if (missing.length === 3) {
    throw new HadalError(
      'ERR_IDENTITY_NO_AUTHORITY',
      `${source} holds no certificate authority (ca-cert.pem, ca-key.pem, root-cert.pem)`,
    );
  }
  throw new HadalError(
    'ERR_IDENTITY_AUTHORITY',
    `the certificate authority in ${source} lacks ${missing.join(' and ')}`,
  );
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const failure = HadalError.from(error, 'ERR_IDENTITY_AUTHORITY', `reading ${path}`);
    if (failure.systemCode === 'ENOENT' || failure.systemCode === 'ENOTDIR') return undefined;
    throw failure;
  }
}

async function warnIfKeyIsOpen(directory: string, logger: Logger | undefined): Promise<void> {
  const path = join(directory, 'ca-key.pem');
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    logger?.warn(
      { path, mode: (mode & 0o777).toString(8) },
      'others may read the authority key; chmod 600 it',
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
