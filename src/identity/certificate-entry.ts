/** The life of one identity's certificate: fetched, served, renewed at half life, served on while renewal fails. */

import { deadline } from '../base/abort.ts';
import { Backoff } from '../base/backoff.ts';
import { HadalError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from './clock.ts';
import { createCsr } from './csr.ts';
import type { FetchPriority, FetchQueue, QueuedFetch } from './fetch-queue.ts';
import type { KeptCertificates } from './kept-certificates.ts';
import { generateKey } from './keys.ts';
import type { CertificateSigner } from './signer.ts';
import { checkCertificate, type WorkloadCertificate } from './workload-certificate.ts';

export type CertificateState =
  /** None: a fetch is in the queue or under way. `error` tells of the one before. */
  | { readonly kind: 'fetching'; readonly error?: HadalError }
  /** Serves; will be renewed at `renewAt`. */
  | { readonly kind: 'valid'; readonly certificate: WorkloadCertificate; readonly renewAt: number }
  /** Serves; the next one is in the queue or under way. */
  | { readonly kind: 'renewing'; readonly certificate: WorkloadCertificate }
  /** Serves until it expires; renewal failed and is tried again at `retryAt`. */
  | {
      readonly kind: 'overdue';
      readonly certificate: WorkloadCertificate;
      readonly error: HadalError;
      readonly failures: number;
      readonly retryAt: number;
    }
  /** None, and the last fetch failed. */
  | {
      readonly kind: 'failed';
      readonly error: HadalError;
      readonly failures: number;
      readonly retryAt: number;
    }
  | { readonly kind: 'closed' };

export interface EntrySettings {
  readonly signer: CertificateSigner;
  readonly queue: FetchQueue;
  readonly clock: Clock;
  readonly kept: KeptCertificates | undefined;
  readonly lifetimeMs: number;
  readonly fetchTimeoutMs: number;
  readonly random: () => number;
  readonly logger: Logger;
  /** Called after every change of state. */
  readonly onState: (identity: string, state: CertificateState, before: CertificateState) => void;
}

/** Wall clocks jump and machines sleep: no timer is trusted for longer. */
const maxSleepMs = 3_600_000;
const minRenewDelayMs = 1_000;
/** A pod without a certificate reaches nobody: it must not wait long once the authority is back. */
const longestWaitWithoutMs = 10_000;
/** Share of what is left of a life that may pass between two attempts to renew. */
const longestWaitShare = 0.25;
/** Share of a life by which renewals of certificates that came together are spread. */
const renewSpread = 0.05;

export class CertificateEntry {
  readonly identity: string;
  readonly #settings: EntrySettings;
  readonly #backoff: Backoff;
  readonly #closing = new AbortController();
  #state: CertificateState = { kind: 'fetching' };
  #priority: FetchPriority;
  #queued: QueuedFetch | undefined;
  #cancelTimer: () => void = () => {};

  constructor(identity: string, priority: FetchPriority, settings: EntrySettings) {
    this.identity = identity;
    this.#priority = priority;
    this.#settings = settings;
    this.#backoff = new Backoff({ initialMs: 500, maxMs: 150_000, jitter: 0.2, random: settings.random });
    this.#start().catch((caught: unknown) => this.#failed(HadalError.from(caught, 'ERR_IDENTITY_KEPT')));
  }

  get state(): CertificateState {
    return this.#state;
  }

  /** The one to serve now. */
  get certificate(): WorkloadCertificate | undefined {
    return certificateOf(this.#state);
  }

  raise(priority: FetchPriority): void {
    this.#priority = priority;
    this.#queued?.raise(priority);
  }

  /** Fetches another before its time, when this one is of no use to anybody who knows what we know. */
  renewNow(): void {
    if (this.#state.kind === 'valid' || this.#state.kind === 'overdue') this.#renew(this.#state.certificate);
  }

  /** Asks again without the wait that failures have earned: the authority may be back. */
  retryNow(): void {
    const state = this.#state;
    if (state.kind !== 'failed' && state.kind !== 'overdue') return;
    this.#backoff.reset();
    if (state.kind === 'overdue') {
      this.#renew(state.certificate);
      return;
    }
    this.#enter({ kind: 'fetching', error: state.error });
    this.#enqueue();
  }

  close(): void {
    this.#closing.abort(new HadalError('ERR_DRAINING', `nobody uses ${this.identity} any more`));
    this.#queued?.cancel();
    this.#enter({ kind: 'closed' });
  }

  async #start(): Promise<void> {
    const { kept, clock, logger } = this.#settings;
    const found = await kept?.load(this.identity, new Date(clock.now()));
    if (this.#state.kind === 'closed') return;
    if (found === undefined) {
      this.#enqueue();
      return;
    }
    logger.info(
      { identity: this.identity, notAfter: found.certificate.notAfter.toISOString() },
      'took up the kept certificate',
    );
    this.#serve(found.certificate, found.fetchedAt);
  }

  #enter(next: CertificateState): void {
    const before = this.#state;
    if (before.kind === 'closed') return;
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    this.#state = next;
    const wakeAt = wakeTime(next);
    if (wakeAt !== undefined) this.#sleepUntil(wakeAt);
    this.#settings.onState(this.identity, next, before);
  }

  #sleepUntil(at: number): void {
    const { clock } = this.#settings;
    const delayMs = Math.min(Math.max(0, at - clock.now()), maxSleepMs);
    this.#cancelTimer = clock.after(delayMs, () => this.#wake());
  }

  #wake(): void {
    const state = this.#state;
    const now = this.#settings.clock.now();
    const certificate = certificateOf(state);
    if (certificate !== undefined && now >= certificate.notAfter.getTime()) {
      this.#expire(state, certificate);
    } else if (state.kind === 'valid' && now >= state.renewAt) {
      this.#renew(state.certificate);
    } else if (state.kind === 'overdue' && now >= state.retryAt) {
      this.#renew(state.certificate);
    } else if (state.kind === 'failed' && now >= state.retryAt) {
      this.#enter({ kind: 'fetching', error: state.error });
      this.#enqueue();
    } else {
      const wakeAt = wakeTime(state);
      if (wakeAt !== undefined) this.#sleepUntil(wakeAt);
    }
  }

  #renew(certificate: WorkloadCertificate): void {
    this.#enter({ kind: 'renewing', certificate });
    this.#enqueue();
  }

  #expire(state: CertificateState, certificate: WorkloadCertificate): void {
    const expired = certificate.notAfter.toISOString();
    this.#settings.logger.error(
      { identity: this.identity, expired },
      'the certificate expired before it could be renewed',
    );
    if (state.kind === 'overdue') {
      const { error, failures } = state;
      // A machine that slept through the end of the life may have long to go.
      const retryAt = Math.min(state.retryAt, this.#settings.clock.now() + longestWaitWithoutMs);
      this.#enter({ kind: 'failed', error, failures, retryAt });
      return;
    }
    this.#enter({ kind: 'fetching' });
    // While renewing, the fetch is under way already.
    if (state.kind === 'valid') this.#enqueue();
  }

  #enqueue(): void {
    const { queue } = this.#settings;
    // Once a certificate serves, its renewal is nobody's hurry.
    const priority = this.certificate === undefined ? this.#priority : 'background';
    this.#queued = queue.add(priority, async () => {
      this.#queued = undefined;
      if (this.#state.kind === 'closed') return;
      try {
        const certificate = await this.#fetch();
        this.#backoff.reset();
        this.#serve(certificate, this.#settings.clock.now());
        if (this.certificate !== undefined)
          await this.#settings.kept?.save(certificate, this.#settings.clock.now());
      } catch (caught) {
        this.#failed(HadalError.from(caught, 'ERR_IDENTITY_SIGNER'));
      }
    });
  }

  async #fetch(): Promise<WorkloadCertificate> {
    const { signer, lifetimeMs, fetchTimeoutMs, clock } = this.#settings;
    const key = await generateKey();
    const csr = await createCsr(this.identity, key);
    const time = deadline(fetchTimeoutMs, `fetching a certificate from ${signer.name}`, this.#closing.signal);
    try {
      const signed = await signer.sign({ csr, identity: this.identity, lifetimeMs }, time.signal);
      return checkCertificate(this.identity, key, signed, new Date(clock.now()));
    } finally {
      time.clear();
    }
  }

  #serve(certificate: WorkloadCertificate, fetchedAt: number): void {
    const { random, clock } = this.#settings;
    // Authorities date certificates back for slow clocks; of a short life that would be the better half.
    const start = Math.max(certificate.notBefore.getTime(), fetchedAt);
    const life = certificate.notAfter.getTime() - start;
    const renewAt = Math.max(start + life * (0.5 - renewSpread * random()), clock.now() + minRenewDelayMs);
    this.#enter({ kind: 'valid', certificate, renewAt });
  }

  #failed(error: HadalError): void {
    if (this.#state.kind === 'closed') return;
    const certificate = this.certificate;
    const now = this.#settings.clock.now();
    const leftMs = certificate === undefined ? 0 : certificate.notAfter.getTime() - now;
    const delayMs = this.#backoff.next(
      certificate === undefined ? longestWaitWithoutMs : leftMs * longestWaitShare,
    );
    const retryAt = now + delayMs;
    const failures = this.#backoff.failures;
    this.#settings.logger.warn(
      { identity: this.identity, err: error, failures, retryInMs: delayMs },
      'no certificate',
    );
    this.#enter(
      certificate === undefined
        ? { kind: 'failed', error, failures, retryAt }
        : { kind: 'overdue', certificate, error, failures, retryAt },
    );
  }
}

export function certificateOf(state: CertificateState): WorkloadCertificate | undefined {
  return 'certificate' in state ? state.certificate : undefined;
}

/** When the state has to be looked at again. */
function wakeTime(state: CertificateState): number | undefined {
  switch (state.kind) {
    case 'valid':
      return state.renewAt;
    case 'renewing':
      return state.certificate.notAfter.getTime();
    case 'overdue':
      return Math.min(state.retryAt, state.certificate.notAfter.getTime());
    case 'failed':
      return state.retryAt;
    default:
      return undefined;
  }
}
