/**
 * The certificates of an agent: one per service account that has a pod here, shared by its pods, dropped with the last of them.
 * `onIdentity` and `onGone` tell the tunnel; nothing on a connection's path comes here.
 */
import { waitOrAbort } from '../base/abort.ts';
import { HadalError } from '../base/errors.ts';
import type { Closeable } from '../base/lifecycle.ts';
import type { Logger } from '../base/logger.ts';
import { parseSpiffeId } from '../model/spiffe-id.ts';
import { CertificateEntry, type CertificateState, certificateOf } from './certificate-entry.ts';
import { findPath } from './chain.ts';
import { type Clock, systemClock } from './clock.ts';
import { type FetchPriority, FetchQueue } from './fetch-queue.ts';
import type { KeptCertificates } from './kept-certificates.ts';
import type { RevocationLists } from './revocation-lists.ts';
import type { CertificateSigner } from './signer.ts';
import {
  type CertificateDescription,
  describeCertificate,
  toWorkloadIdentity,
  type WorkloadIdentity,
} from './workload-certificate.ts';

export interface WorkloadCertificatesOptions {
  readonly signer: CertificateSigner;
  /** Trust domains of peers that our workloads accept: their own and configured aliases. */
  readonly trustDomains: readonly string[];
  /** A new or renewed certificate. */
  readonly onIdentity: (identity: WorkloadIdentity) => void;
  /** No certificate any more: expired without renewal, or nobody uses it. */
  readonly onGone: (identity: string) => void;
  readonly logger: Logger;
  /** Where certificates outlive the process; not kept without it. */
  readonly kept?: KeptCertificates;
  /** Asked of the authority. Default 24 hours. */
  readonly lifetimeMs?: number;
  /** One fetch, end to end. Default 10 s. */
  readonly fetchTimeoutMs?: number;
  /** Fetches at the same time. Default 8. */
  readonly parallelFetches?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** A pod's hold on a certificate. */
export interface CertificateUse extends Closeable {
  readonly identity: string;
  readonly state: CertificateState;
  /** Resolves once a valid certificate was handed to `onIdentity`. Rejects when `signal` fires or the use is closed. */
  ready(signal?: AbortSignal): Promise<void>;
  close(): void;
}

/** What `/config_dump`, `hadal certificates` and metrics show. Key names as istioctl reads them. */
export interface CertificateStatus {
  readonly identity: string;
  /** `Available`, `Initializing` or `Unavailable: <why>`. */
  readonly state: string;
  readonly certChain: readonly CertificateDescription[];
  readonly rootCerts: readonly CertificateDescription[];
  /** Beyond istioctl: our own state's name and what comes next. */
  readonly phase: CertificateState['kind'];
  readonly renewAt?: string;
  readonly retryAt?: string;
  readonly error?: string;
  readonly users: number;
}

type HeldState = Exclude<CertificateState['kind'], 'closed'>;

interface Held {
  readonly entry: CertificateEntry;
  readonly waiters: Set<{ resolve: () => void; reject: (error: unknown) => void }>;
  users: number;
}

export class WorkloadCertificates {
  readonly #options: WorkloadCertificatesOptions;
  readonly #held = new Map<string, Held>();
  readonly #queue: FetchQueue;
  #closed = false;

  constructor(options: WorkloadCertificatesOptions) {
    this.#options = options;
    this.#queue = new FetchQueue(options.parallelFetches ?? 8);
  }

  /** Begins to hold a certificate for the SPIFFE id, or shares the one that is held. */
  use(identity: string, priority: FetchPriority = 'warmup'): CertificateUse {
    if (this.#closed)
      throw new HadalError(
        'ERR_DRAINING',
        `a certificate for ${identity} was asked for while the agent was ending`,
      );
    if (parseSpiffeId(identity) === undefined) {
      throw new HadalError(
        'ERR_IDENTITY',
        `${JSON.stringify(identity)} is no identity; expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>`,
      );
    }
    const held = this.#held.get(identity) ?? this.#hold(identity, priority);
    held.users += 1;
    held.entry.raise(priority);
    let open = true;
    return {
      identity,
      get state() {
        return held.entry.state;
      },
      ready: (signal) => this.#ready(held, signal),
      close: () => {
        if (!open) return;
        open = false;
        this.#release(identity, held);
      },
    };
  }

  /** The authority may be back: those that could not be fetched are asked for again. */
  retryNow(): void {
    for (const { entry } of this.#held.values()) entry.retryNow();
  }

  status(): CertificateStatus[] {
    return [...this.#held.values()]
      .map(({ entry, users }) => describe(entry, users))
      .sort((a, b) => (a.identity < b.identity ? -1 : 1));
  }

  /** How many identities are in each state. */
  counts(): Record<HeldState, number> {
    const counts = { fetching: 0, valid: 0, renewing: 0, overdue: 0, failed: 0 };
    for (const { entry } of this.#held.values()) {
      const { kind } = entry.state;
      if (kind !== 'closed') counts[kind] += 1;
    }
    return counts;
  }

  /** Certificates that peers will refuse are replaced at once, not at half their life. */
  renewRevoked(lists: RevocationLists): void {
    const now = new Date((this.#options.clock ?? systemClock).now());
    for (const { entry } of this.#held.values()) {
      const { identity, certificate } = entry;
      if (certificate === undefined) continue;
      const [leaf, ...intermediates] = certificate.chain;
      const path = leaf === undefined ? undefined : findPath(leaf, intermediates, certificate.roots, now);
      const why = path === undefined ? undefined : lists.findRevoked(path);
      if (why === undefined) continue;
      this.#options.logger.warn({ identity, why }, 'our own certificate was revoked; fetching another');
      entry.renewNow();
    }
  }

  /** Stops fetching and renewing. Certificates stay kept, and `onGone` is not called: the next agent goes on with them. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { entry, waiters } of this.#held.values()) {
      entry.close();
      rejectAll(waiters, entry.identity);
    }
    this.#held.clear();
    await this.#options.kept?.settled();
  }

  #hold(identity: string, priority: FetchPriority): Held {
    const { signer, kept, logger, clock = systemClock, random = Math.random } = this.#options;
    const entry = new CertificateEntry(identity, priority, {
      signer,
      queue: this.#queue,
      clock,
      kept,
      lifetimeMs: this.#options.lifetimeMs ?? 24 * 3_600_000,
      fetchTimeoutMs: this.#options.fetchTimeoutMs ?? 10_000,
      random,
      logger,
      onState: (_, state, before) => this.#changed(identity, state, before),
    });
    const held: Held = { entry, waiters: new Set(), users: 0 };
    this.#held.set(identity, held);
    return held;
  }

  #changed(identity: string, state: CertificateState, before: CertificateState): void {
    if (this.#closed || state.kind === 'closed') return;
    const [now, last] = [certificateOf(state), certificateOf(before)];
    if (now === last) return;
    if (now === undefined) {
      this.#options.onGone(identity);
      return;
    }
    this.#options.onIdentity(toWorkloadIdentity(now, this.#options.trustDomains));
    const waiters = this.#held.get(identity)?.waiters;
    for (const { resolve } of waiters ?? []) resolve();
    waiters?.clear();
  }

  async #ready(held: Held, signal: AbortSignal | undefined): Promise<void> {
    if (held.entry.certificate !== undefined) return;
    if (held.entry.state.kind === 'closed') throw closedError(held.entry.identity);
    held.entry.raise('realtime');
    const waiter = Promise.withResolvers<void>();
    held.waiters.add(waiter);
    try {
      await waitOrAbort(waiter.promise, signal, `waiting for the certificate of ${held.entry.identity}`);
    } finally {
      held.waiters.delete(waiter);
    }
  }

  #release(identity: string, held: Held): void {
    held.users -= 1;
    if (held.users > 0 || this.#held.get(identity) !== held) return;
    this.#held.delete(identity);
    const served = held.entry.certificate !== undefined;
    held.entry.close();
    rejectAll(held.waiters, identity);
    void this.#options.kept?.remove(identity);
    if (served) this.#options.onGone(identity);
  }
}

function rejectAll(waiters: Held['waiters'], identity: string): void {
  for (const { reject } of waiters) reject(closedError(identity));
  waiters.clear();
}

function closedError(identity: string): HadalError<'ERR_DRAINING'> {
  return new HadalError('ERR_DRAINING', `the certificate of ${identity} is not used any more`);
}

function describe(entry: CertificateEntry, users: number): CertificateStatus {
  const { state, certificate } = entry;
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    identity: entry.identity,
    state: publicState(state),
    certChain: certificate?.chain.map(describeCertificate) ?? [],
    rootCerts: certificate?.roots.map(describeCertificate) ?? [],
    phase: state.kind,
    ...('renewAt' in state ? { renewAt: time(state.renewAt) } : {}),
    ...('retryAt' in state ? { retryAt: time(state.retryAt) } : {}),
    ...('error' in state && state.error !== undefined
      ? { error: `${state.error.code}: ${state.error.message}` }
      : {}),
    users,
  };
}

function publicState(state: CertificateState): string {
  if (certificateOf(state) !== undefined) return 'Available';
  return state.kind === 'failed' ? `Unavailable: ${state.error.message}` : 'Initializing';
}
