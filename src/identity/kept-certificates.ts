/**
 * Certificates and keys in the runtime directory, so that an agent that was restarted is ready while the authority is away. Only
 * on tmpfs: a private key never reaches a disk. One file per identity, mode 0600, replaced by rename.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { parseObject } from './signing-wire.ts';
import { findSwap } from './swap.ts';
import {
  fromWorkloadIdentity,
  toWorkloadIdentity,
  type WorkloadCertificate,
  type WorkloadIdentity,
} from './workload-certificate.ts';

/** f_type of statfs(2): memory-backed file systems. */
const tmpfs = 0x01021994;
const ramfs = 0x858458f6;

export interface KeptCertificate {
  readonly certificate: WorkloadCertificate;
  readonly fetchedAt: number;
}

export class KeptCertificates {
  readonly #directory: string;
  readonly #logger: Logger;
  /** Changes of one file happen one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #version = 0;

  private constructor(directory: string, logger: Logger) {
    this.#directory = directory;
    this.#logger = logger;
  }

  /** Throws ERR_IDENTITY_NOT_TMPFS when the directory is on anything but memory. Drops files that a crash left half-written. */
  static async open(directory: string, logger: Logger): Promise<KeptCertificates> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await chmod(directory, 0o700);
      const { type } = await statfs(directory);
      if (type !== tmpfs && type !== ramfs) {
        throw new HadalError(
          'ERR_IDENTITY_NOT_TMPFS',
          `${directory} is not on tmpfs (file system type 0x${type.toString(16)}), and private keys must not reach a disk; give a directory below /run`,
        );
      }
      const swap = await findSwap(directory);
      if (swap.length > 0) {
        logger.warn(
          { directory, swap },
          'the machine swaps, so private keys in memory may reach its disk; switch swap off, encrypt it, or mount the directory with noswap',
        );
      }
      for (const name of await readdir(directory)) {
        if (name.endsWith('.new')) await rm(join(directory, name), { force: true });
      }
      return new KeptCertificates(directory, logger);
    } catch (error) {
      throw HadalError.from(error, 'ERR_IDENTITY_KEPT', `keeping certificates in ${directory}`);
    }
  }

  /** Undefined when there is none that is valid at `at`; what cannot be used is deleted. */
  async load(identity: string, at: Date): Promise<KeptCertificate | undefined> {
    await this.#last;
    const path = this.#path(identity);
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      const failure = HadalError.from(error, 'ERR_IDENTITY_KEPT');
      if (failure.systemCode !== 'ENOENT')
        this.#logger.warn({ err: failure, identity }, 'cannot read a kept certificate');
      return undefined;
    }
    try {
      const kept = parseKept(path, text);
      if (kept.identity !== identity)
        throw new HadalError('ERR_IDENTITY_KEPT', `${path} is for ${kept.identity}`);
      return { certificate: fromWorkloadIdentity(kept, at), fetchedAt: kept.fetchedAt };
    } catch (error) {
      this.#logger.info(
        { err: HadalError.from(error, 'ERR_IDENTITY_KEPT'), identity },
        'a kept certificate is of no use',
      );
      await rm(path, { force: true });
      return undefined;
    }
  }

  /** Failures are logged: a certificate that cannot be kept still serves. */
  save(certificate: WorkloadCertificate, fetchedAt: number): Promise<void> {
    const { trustDomains: _, ...identity } = toWorkloadIdentity(certificate, []);
    const text = JSON.stringify({ version: 1, fetchedAt, ...identity });
    return this.#change(certificate.identity, async (path) => {
      this.#version += 1;
      const draft = `${path}.${process.pid}-${this.#version}.new`;
      await writeFile(draft, text, { mode: 0o600, flag: 'wx' });
      await rename(draft, path);
    });
  }

  remove(identity: string): Promise<void> {
    return this.#change(identity, (path) => rm(path, { force: true }));
  }

  /** Resolves when all changes so far are done. */
  async settled(): Promise<void> {
    await this.#last;
  }

  #change(identity: string, action: (path: string) => Promise<void>): Promise<void> {
    const done = this.#last.then(async () => {
      try {
        await action(this.#path(identity));
      } catch (error) {
        this.#logger.warn(
          { err: HadalError.from(error, 'ERR_IDENTITY_KEPT'), identity },
          'cannot keep a certificate',
        );
      }
    });
    this.#last = done;
    return done;
  }

  /** An identity may be longer than a file name. */
  #path(identity: string): string {
    return join(this.#directory, `${createHash('sha256').update(identity).digest('hex').slice(0, 32)}.json`);
  }
}

/** What a file holds, checked for its shape; `fromWorkloadIdentity` checks the certificate itself. */
function parseKept(
  path: string,
  text: string,
): Omit<WorkloadIdentity, 'trustDomains'> & { fetchedAt: number } {
  const { version, identity, fetchedAt, certificateChain, privateKey, roots } = parseObject(text) ?? {};
  const texts = [identity, certificateChain, privateKey, roots];
  if (version !== 1 || typeof fetchedAt !== 'number' || texts.some((each) => typeof each !== 'string')) {
    throw new HadalError('ERR_IDENTITY_KEPT', `${path} holds no certificate of version 1`);
  }
  return {
    identity: String(identity),
    fetchedAt,
    certificateChain: String(certificateChain),
    privateKey: String(privateKey),
    roots: String(roots),
  };
}
