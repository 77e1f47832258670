/**
 * One of several replicas does what must be done once, by a Lease: as client-go does it, so replicas of either kind
 * understand each other. A leader that cannot renew stops before another may begin; clocks of machines are never compared.
 */
import { sleep } from '../../base/abort.ts';
import { HadalError } from '../../base/errors.ts';
import type { Closeable } from '../../base/lifecycle.ts';
import { type Logger, silentLogger } from '../../base/logger.ts';
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';

export interface LeaderElectionOptions {
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this replica: its pod's name, with something that a restart changes. */
  readonly identity: string;
  /** Others take over when the lease was not renewed for so long; whole seconds. Default 15,000. */
  readonly leaseMs?: number;
  /** Default: a seventh of the lease. */
  readonly retryMs?: number;
  /** Called each time this replica becomes the leader; `signal` fires when it is no longer. */
  readonly onLead: (signal: AbortSignal) => void;
  readonly logger?: Logger;
}

interface Lease {
  readonly metadata: { readonly resourceVersion?: string; readonly [field: string]: unknown };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** The leader gives up after this share of a lease without a renewal. */
const renewShare = 2 / 3;

export class LeaderElection implements Closeable {
  readonly #api: ApiClient;
  readonly #options: Required<LeaderElectionOptions>;
  readonly #path: string;
  readonly #closing = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #leading: AbortController | undefined;
  /** The newest that was seen of the lease, and when, by our own clock. */
  #seen: { readonly lease: Lease; readonly at: number } | undefined;

  constructor(api: ApiClient, options: LeaderElectionOptions) {
    const leaseMs = options.leaseMs ?? 15_000;
    this.#api = api;
    this.#options = { leaseMs, retryMs: leaseMs / 7, logger: silentLogger, ...options };
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
  }

  get isLeader(): boolean {
    return this.#leading !== undefined;
  }

  /** Who leads, as far as this replica knows. */
  get leader(): string | undefined {
    return this.#seen?.lease.spec?.holderIdentity || undefined;
  }

  start(): void {
    this.#running = this.#run(this.#closing.signal);
  }

  /** A leader hands over at once. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('this replica is ending'));
    await this.#running;
    if (this.#leading === undefined) return;
    this.#stepDown('this replica is ending');
    await this.#release().catch((error: unknown) => {
      this.#options.logger.warn({ error }, 'the lease could not be given back; others wait until it ends');
    });
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { leaseMs, retryMs } = this.#options;
    let renewedAt = performance.now();
    while (!signal.aborted) {
      const begun = performance.now();
      // A leader that hears nothing must know in time that it is none any more.
      const timeoutMs = this.#leading === undefined ? leaseMs / 3 : renewedAt + leaseMs * renewShare - begun;
      const holds = await this.#try(signal, timeoutMs);
      if (signal.aborted) return;
      if (holds === true) {
        renewedAt = begun;
        if (this.#leading === undefined) this.#lead();
      } else if (holds === false) {
        this.#stepDown(`${this.leader ?? 'nobody'} leads now`);
      } else if (performance.now() - renewedAt >= leaseMs * renewShare) {
        this.#stepDown('the lease could not be renewed in time');
      }
      const pauseMs = retryMs * (0.8 + 0.4 * Math.random());
      await sleep(pauseMs, signal).catch(() => {});
    }
  }

  /** Whether the lease is ours now; undefined when that could not be found out. */
  async #try(signal: AbortSignal, timeoutMs: number): Promise<boolean | undefined> {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)))]);
    try {
      const lease = await this.#read(inTime);
      if (lease === undefined) return await this.#write('POST', this.#path, this.#next(undefined), inTime);
      this.#notice(lease);
      if (lease.spec?.holderIdentity !== this.#options.identity && !this.#isFree(lease)) return false;
      return await this.#write('PUT', `${this.#path}/${this.#options.name}`, this.#next(lease), inTime);
    } catch (caught) {
      // Another replica was quicker.
      if (isApiError(caught, 409)) return this.isLeader ? undefined : false;
      if (!signal.aborted) {
        const error = HadalError.from(caught, 'ERR_KUBERNETES_LEASE');
        this.#options.logger.warn({ error, lease: this.#options.name }, 'the lease could not be asked for');
      }
      return undefined;
    }
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#api.request<Lease>({ path: `${this.#path}/${this.#options.name}`, signal });
    } catch (error) {
      if (isApiError(error, 404)) return undefined;
      throw error;
    }
  }

  async #write(method: 'POST' | 'PUT', path: string, body: Lease, signal: AbortSignal): Promise<boolean> {
    this.#notice(await this.#api.request<Lease>({ method, path, body, signal }));
    return true;
  }

  #notice(lease: Lease): void {
    if (this.#seen?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#seen = { lease, at: performance.now() };
  }

  /** Nobody holds it, or its holder has not renewed it since we have watched for as long as it lasts. */
  #isFree({ spec = {} }: Lease): boolean {
    if (spec.holderIdentity === undefined || spec.holderIdentity === '') return true;
    const seenAt = this.#seen?.at ?? performance.now();
    return performance.now() - seenAt > (spec.leaseDurationSeconds ?? 15) * 1_000;
  }

  #next(lease: Lease | undefined): Lease {
    const { identity, leaseMs, name, namespace } = this.#options;
    const now = new Date().toISOString().replace('Z', '000Z');
    const old = lease?.spec ?? {};
    const isOurs = old.holderIdentity === identity;
    return {
      ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' },
      // With its resource version: whoever writes second has lost.
      metadata: lease?.metadata ?? { name, namespace },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.max(1, Math.round(leaseMs / 1_000)),
        acquireTime: isOurs ? (old.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: (old.leaseTransitions ?? 0) + (lease === undefined || isOurs ? 0 : 1),
      },
    };
  }

  #lead(): void {
    this.#leading = new AbortController();
    this.#options.logger.info({ lease: this.#options.name }, 'this replica leads');
    this.#options.onLead(this.#leading.signal);
  }

  #stepDown(why: string): void {
    if (this.#leading === undefined) return;
    this.#options.logger.info({ lease: this.#options.name, why }, 'this replica leads no more');
    this.#leading.abort(new Error(why));
    this.#leading = undefined;
  }

  async #release(): Promise<void> {
    const signal = AbortSignal.timeout(2_000);
    const lease = await this.#read(signal);
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1 };
    await this.#api.request({
      method: 'PUT',
      path: `${this.#path}/${this.#options.name}`,
      body: { ...lease, spec },
      signal,
    });
  }
}
