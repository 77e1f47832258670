/**
 * The authority of a directory whose files may change while it signs: a root is added, the key is switched, a root is dropped. What
 * cannot be used changes nothing, and is looked at again.
 */
import type { X509Certificate } from 'node:crypto';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { watchDirectory } from '../base/watch-directory.ts';
import type { Authority } from './authority.ts';
import { openAuthority, openSelfSignedAuthority, type SelfSignedOptions } from './authority-directory.ts';
import { readCertificates, subjectOf } from './chain.ts';
import type { CertificateSigner, SignedCertificate, SigningRequest } from './signer.ts';

export interface LiveAuthorityOptions extends SelfSignedOptions {
  /** Make a self-signed root when the directory holds none. */
  readonly selfSigned: boolean;
  /** Default 300 ms. */
  readonly debounceMs?: number;
  /** Default 10 s. */
  readonly pollMs?: number;
}

/** For people: `hadal certificates` of a control plane. */
export interface AuthorityStatus {
  readonly directory: string;
  readonly signer: string;
  readonly signerExpires: string;
  readonly roots: readonly RootStatus[];
  /** Why the files as they are now are not in use. */
  readonly error?: string;
}

export interface RootStatus {
  readonly subject: string;
  /** SHA-256, as `openssl x509 -fingerprint -sha256` prints it. */
  readonly fingerprint: string;
  readonly validFrom: string;
  readonly expires: string;
  /** Whether certificates are signed below it now. */
  readonly signs: boolean;
}

export class LiveAuthority implements CertificateSigner, Closeable {
  readonly #directory: string;
  readonly #options: LiveAuthorityOptions;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #watch: Closeable;
  #current: Authority;
  #error: HadalError | undefined;
  /** Longest life that was signed for. */
  #longestMs = 0;
  /** When this process began to give the root out, by fingerprint. */
  readonly #rootSince = new Map<string, number>();

  /** Throws as `openAuthority` does: without an authority there is nothing to begin with. */
  static async open(
    directory: string,
    options: LiveAuthorityOptions,
    logger: Logger,
  ): Promise<LiveAuthority> {
    const open = options.selfSigned ? openSelfSignedAuthority : openAuthority;
    return new LiveAuthority(directory, await open(directory, options, logger), options, logger);
  }

  private constructor(directory: string, first: Authority, options: LiveAuthorityOptions, logger: Logger) {
    this.#directory = directory;
    this.#options = options;
    this.#logger = logger;
    this.#current = first;
    // How long those of the start were given out before is not known: long enough, hopefully.
    for (const root of rootsOf(first)) this.#rootSince.set(root.fingerprint256, Number.NEGATIVE_INFINITY);
    const { debounceMs = 300, pollMs = 10_000 } = options;
    this.#watch = watchDirectory(directory, { debounceMs, pollMs }, () => this.reload());
  }

  get name(): string {
    return this.#current.name;
  }

  get current(): Authority {
    return this.#current;
  }

  get roots(): string {
    return this.#current.roots;
  }

  /** `listener` is called after each change of signer or roots; the answer ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  sign(request: SigningRequest): Promise<SignedCertificate> {
    const { maxLifetimeMs = Number.POSITIVE_INFINITY } = this.#options;
    this.#longestMs = Math.max(this.#longestMs, Math.min(request.lifetimeMs, maxLifetimeMs));
    return this.#current.sign(request);
  }

  status(): AuthorityStatus {
    const { signer, root: own } = this.#current;
    return {
      directory: this.#directory,
      signer: subjectOf(signer),
      signerExpires: this.#current.expiresAt.toISOString(),
      roots: rootsOf(this.#current).map((root) => ({
        subject: subjectOf(root),
        fingerprint: root.fingerprint256,
        validFrom: root.validFromDate.toISOString(),
        expires: root.validToDate.toISOString(),
        signs: root.fingerprint256 === own.fingerprint256,
      })),
      ...(this.#error === undefined ? {} : { error: this.#error.message }),
    };
  }

  /** Reads the files now. Never rejects: what cannot be used is logged, and the one before goes on. */
  async reload(): Promise<void> {
    let next: Authority;
    try {
      // What `open` has warned of needs no repetition every few seconds.
      next = await openAuthority(this.#directory, this.#options);
    } catch (caught) {
      const error = HadalError.from(caught, 'ERR_IDENTITY_AUTHORITY');
      // Files that are replaced one by one do not fit each other for a moment; what stays wrong is said once.
      if (error.message !== this.#error?.message) {
        this.#logger.error(
          { err: error },
          'the files of the authority cannot be used; the one before signs on',
        );
      }
      this.#error = error;
      return;
    }
    this.#error = undefined;
    const before = this.#current;
    if (next.equals(before)) return;
    this.#current = next;
    this.#explain(before, next);
    for (const listener of this.#listeners) listener();
  }

  close(): void | Promise<void> {
    return this.#watch.close();
  }

  #explain(before: Authority, next: Authority): void {
    const now = this.#options.now?.() ?? Date.now();
    const [old, fresh] = [rootsOf(before), rootsOf(next)];
    const without = (list: X509Certificate[], others: X509Certificate[]) =>
      list.filter((one) => !others.some((other) => other.fingerprint256 === one.fingerprint256));
    const [added, dropped] = [without(fresh, old), without(old, fresh)];
    for (const root of added) this.#rootSince.set(root.fingerprint256, now);
    for (const root of dropped) this.#rootSince.delete(root.fingerprint256);
    this.#logger.info(
      { signer: subjectOf(next.signer), added: added.map(shown), dropped: dropped.map(shown) },
      'the authority has changed',
    );
    const since = this.#rootSince.get(next.root.fingerprint256) ?? now;
    // Agents renew at half a life, so by then all of them have what was given out.
    if (before.root.fingerprint256 !== next.root.fingerprint256 && now - since < this.#longestMs / 2) {
      this.#logger.warn(
        { root: shown(next.root), givenOutForMs: now - since },
        'signs below a root that agents get with their next renewal only; until all have renewed, some connections may fail. ' +
          'Add a root to root-cert.pem, wait for half the longest lifetime, then switch ca-cert.pem and ca-key.pem',
      );
    }
    if (dropped.some((root) => root.fingerprint256 === before.root.fingerprint256)) {
      this.#logger.warn(
        { dropped: dropped.map(shown) },
        'the root of certificates that were signed until now was dropped: they are refused by every agent that has renewed since',
      );
    }
  }
}

function rootsOf(authority: Authority): X509Certificate[] {
  return readCertificates(authority.roots, authority.name);
}

function shown(root: X509Certificate): string {
  return `${subjectOf(root)} ${root.fingerprint256.slice(0, 11)}`;
}
