/**
 * The certificate of a control plane's own port: signed by its own authority, renewed at half life and when the authority changes.
 * Its key is in memory alone. It is what @grpc/grpc-js takes as a provider, so new connections get the new one without a restart.
 */
import { X509Certificate } from 'node:crypto';
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import type { ServerNames } from './certificate.ts';
import { generateKey, keyToPem } from './keys.ts';
import type { LiveAuthority } from './live-authority.ts';

const defaultLifetimeMs = 24 * 3_600_000;
const retryMs = 5_000;

type Listener = experimental.IdentityCertificateUpdateListener;

export interface ServerCertificateOptions {
  readonly names: ServerNames;
  readonly logger: Logger;
  /** Default 24 hours. */
  readonly lifetimeMs?: number;
}

export class ServerCertificate implements experimental.CertificateProvider, Closeable {
  readonly #authority: LiveAuthority;
  readonly #options: ServerCertificateOptions;
  readonly #listeners = new Set<Listener>();
  readonly #forget: () => void;
  #latest: { readonly certificate: Buffer; readonly privateKey: Buffer };
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  static async issue(
    authority: LiveAuthority,
    options: ServerCertificateOptions,
  ): Promise<ServerCertificate> {
    return new ServerCertificate(authority, options, await issue(authority, options));
  }

  private constructor(authority: LiveAuthority, options: ServerCertificateOptions, first: Issued) {
    this.#authority = authority;
    this.#options = options;
    this.#latest = first;
    this.#forget = authority.onChange(() => this.#after(0));
    this.#after(first.renewInMs);
  }

  /** PEM: the chain, and the key. */
  get latest(): { readonly certificate: Buffer; readonly privateKey: Buffer } {
    return this.#latest;
  }

  /** What a gRPC server binds with; clients show tokens and no certificate. */
  get credentials(): ServerCredentials {
    // The first argument is the server's own certificate, whatever it is called in the types; the second would be the roots of
    // clients, without which a server that was given any waits for ever.
    return experimental.createCertificateProviderServerCredentials(this, null, false);
  }

  addIdentityCertificateListener(listener: Listener): void {
    this.#listeners.add(listener);
    // gRPC adds its own listener before that of the server: what came at once would reach nobody.
    process.nextTick(() => listener(this.#latest));
  }

  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener);
  }

  /** Clients show a token, no certificate. */
  addCaCertificateListener(): void {}
  removeCaCertificateListener(): void {}

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#forget();
    this.#listeners.clear();
  }

  #after(delayMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#renew(), delayMs);
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    try {
      const issued = await issue(this.#authority, this.#options);
      if (this.#closed) return;
      this.#latest = issued;
      for (const listener of this.#listeners) listener(issued);
      this.#after(issued.renewInMs);
    } catch (error) {
      const err = HadalError.from(error, 'ERR_IDENTITY_SIGNER');
      this.#options.logger.error({ err }, "the control plane's own certificate could not be renewed");
      this.#after(retryMs);
    }
  }
}

interface Issued {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
  readonly renewInMs: number;
}

async function issue(
  authority: LiveAuthority,
  { names, lifetimeMs = defaultLifetimeMs }: ServerCertificateOptions,
): Promise<Issued> {
  const key = await generateKey();
  const { chain } = await authority.current.signServer(names, key, lifetimeMs);
  // The authority may have given it less than what was asked.
  const expires = new X509Certificate(chain[0] ?? '').validToDate.getTime();
  const renewInMs = (expires - Date.now()) / 2;
  return {
    certificate: Buffer.from(chain.join('')),
    privateKey: Buffer.from(keyToPem(key)),
    renewInMs: Math.max(1_000, renewInMs),
  };
}
