/**
 * One kind, kept in step with the API server: list, then watch from there, again and again. Bookmarks keep the place fresh, a
 * place that the server has forgotten (410) costs a new list, which tells only differences; every failure is followed by a
 * pause that grows, with jitter.
 */
import { sleep } from '../../base/abort.ts';
import { Backoff, type BackoffOptions } from '../../base/backoff.ts';
import { HadalError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { type ObjectKind, securityKinds } from '../kubernetes/objects.ts';
import type { LastGood } from '../last-good.ts';
import type { ObjectChange } from '../object-source.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError, isApiError } from './api-error.ts';
import type { KindReport, KindState } from './kind-report.ts';
import { listPages } from './list-pages.ts';
import { ObjectLedger } from './object-ledger.ts';
import { type ApiResource, apiVersionOf, resourcePath } from './resources.ts';
import { watchEvents } from './watch-events.ts';

export interface KindWatchSettings {
  /** Items of a page of a list. */
  readonly pageSize: number;
  /** After about so long the server ends a watch, which then goes on elsewhere: load moves to a replica that is new. */
  readonly watchMs: number;
  /** How often a kind that is not served is asked for again. */
  readonly absentMs: number;
  readonly backoff: BackoffOptions;
}

export interface KindSelector {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Only this namespace. */
  readonly namespace?: string;
}

export interface KindWatchOptions {
  readonly kind: ObjectKind;
  readonly resource: ApiResource;
  readonly selector: KindSelector;
  readonly settings: KindWatchSettings;
  readonly logger: Logger;
  /** The first call is the first whole list; empty when something was heard that changes nothing that is in force. */
  readonly onChange: (change: ObjectChange) => void;
}

/** A watch that ends earlier than this, with nothing told, was no watch. */
const shortWatchMs = 1_000;
/**
 * A kind with objects is only believed gone when it stays so, and one that says who may connect only believed absent: a server
 * that starts may not know its custom resources yet, and one that is being established is not served yet.
 */
const goneAfterAnswers = 3;

export class KindWatch {
  readonly #api: ApiClient;
  readonly #options: KindWatchOptions;
  readonly #backoff: Backoff;
  readonly #ledger: ObjectLedger;
  #state: KindState = { name: 'listing' };
  #isSynced = false;
  #version: string;
  /** Where to watch on; undefined when only a list can tell. */
  #resourceVersion: string | undefined;
  #toldAt: string | undefined;
  #notServed = 0;
  #unread: string | undefined;
  #lists = 0;
  #toldRejected: ReadonlySet<string> = new Set();

  constructor(api: ApiClient, options: KindWatchOptions) {
    this.#api = api;
    this.#options = options;
    this.#backoff = new Backoff(options.settings.backoff);
    this.#ledger = new ObjectLedger(options.kind);
    this.#version = options.resource.versions[0];
  }

  get report(): KindReport {
    return {
      state: this.#state,
      objects: this.#ledger.size,
      resourceVersion: this.#resourceVersion,
      toldAt: this.#toldAt,
      lists: this.#lists,
      version: this.#version,
    };
  }

  /** It was read once, or is not served. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Why nothing newer of it can be known, where that is not for the server to mend. */
  get unread(): string | undefined {
    return this.#unread;
  }

  get rejected() {
    return this.#ledger.rejected;
  }

  get lastGood() {
    return this.#ledger.lastGood;
  }

  takeVerdicts() {
    return this.#ledger.takeVerdicts();
  }

  /** What others know of objects that are bad. */
  remember(record: readonly LastGood[]): void {
    const change = this.#ledger.remember(record);
    if (this.#isSynced) this.#tell(change);
  }

  /** Until `signal` fires; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const pauseMs = await this.#round(signal).catch((caught: unknown) =>
        // Its own end is no failure of the server's.
        signal.aborted ? 0 : this.#failed(caught),
      );
      if (pauseMs > 0) await sleep(pauseMs, signal).catch(() => {});
    }
    this.#state = { name: 'closed' };
  }

  /** One list, if that is due, and one watch. Returns how long to wait before the next. */
  async #round(signal: AbortSignal): Promise<number> {
    if (this.#resourceVersion === undefined) {
      this.#state = { name: 'listing' };
      this.#resourceVersion = await this.#list(signal);
    }
    const begun = performance.now();
    const heard = await this.#watch(this.#resourceVersion, signal);
    if (heard || performance.now() - begun >= shortWatchMs) {
      this.#backoff.reset();
      return 0;
    }
    return this.#backoff.next();
  }

  async #list(signal: AbortSignal): Promise<string> {
    const { selector, settings } = this.#options;
    const { namespace, ...query } = selector;
    let list = this.#ledger.beginList(this.#apiVersion);
    const resourceVersion = await listPages(this.#api, {
      path: this.#path(namespace),
      query,
      pageSize: settings.pageSize,
      signal,
      onRestart: () => {
        list = this.#ledger.beginList(this.#apiVersion);
      },
      onPage: (items) => list.add(items),
    });
    this.#lists += 1;
    // What is missing in it may have gone at any time before.
    this.#toldAt = resourceVersion;
    this.#notServed = 0;
    this.#unread = undefined;
    this.#tell(list.finish());
    return resourceVersion;
  }

  /** Returns whether the server told anything. */
  async #watch(from: string, signal: AbortSignal): Promise<boolean> {
    const { selector, settings } = this.#options;
    const { namespace, ...query } = selector;
    let heard = false;
    const batches = watchEvents(this.#api, {
      path: this.#path(namespace),
      query: {
        ...query,
        resourceVersion: from,
        allowWatchBookmarks: true,
        // Half of it is left to chance, so that watches that began together do not end together.
        timeoutSeconds: Math.ceil((settings.watchMs * (1 + Math.random())) / 2_000),
      },
      signal,
      onOpen: () => {
        this.#unread = undefined;
        this.#state = { name: 'watching' };
      },
    });
    for await (const batch of batches) {
      heard = true;
      const change = this.#ledger.apply(batch, this.#apiVersion);
      this.#resourceVersion = batch.at(-1)?.object.metadata?.resourceVersion ?? this.#resourceVersion;
      const last = batch.findLast(({ type }) => type !== 'BOOKMARK');
      this.#toldAt = last?.object.metadata?.resourceVersion ?? this.#toldAt;
      this.#tell(change);
    }
    return heard;
  }

  #tell(change: ObjectChange): void {
    this.#isSynced = true;
    this.#logRejected();
    this.#options.onChange(change);
  }

  /** Each bad version once. */
  #logRejected(): void {
    const rejected = this.#ledger.rejected;
    const told = new Set<string>();
    for (const { id, origin, field, reason, inForce } of rejected) {
      const version = `${id} ${origin} ${field} ${inForce}`;
      told.add(version);
      if (this.#toldRejected.has(version)) continue;
      this.#options.logger.warn({ object: id, origin, field, reason, inForce }, 'an object is rejected');
    }
    this.#toldRejected = told;
  }

  /** Returns how long to wait. */
  #failed(caught: unknown): number {
    const error = HadalError.from(caught);
    if (error instanceof ApiError && error.needsRelist) {
      this.#resourceVersion = undefined;
      // A server that forgets each place at once must not be listed without pause; one that did so once may be at once.
      const isFirst = this.#backoff.failures === 0;
      const pauseMs = this.#backoff.next();
      return isFirst ? 0 : pauseMs;
    }
    if (isApiError(error, 404)) return this.#notFound(error);
    // Answers that it is not served count in a row only: a server that was away begins anew.
    this.#notServed = 0;
    if (isApiError(error, 403)) this.#unread = error.message;
    const { kind, logger } = this.#options;
    if (this.#state.name !== 'waiting')
      logger.warn({ kind, error }, 'the Kubernetes API does not answer as it should');
    this.#state = { name: 'waiting', error };
    const pauseMs = this.#backoff.next();
    return Math.max(pauseMs, error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0);
  }

  #notFound(error: HadalError): number {
    const { resource, settings, kind, logger } = this.#options;
    this.#resourceVersion = undefined;
    const versions = resource.versions;
    const next = versions[versions.indexOf(this.#version) + 1];
    this.#version = next ?? versions[0];
    if (next !== undefined) return 0;
    this.#notServed += 1;
    const isMissed = this.#ledger.size > 0 || securityKinds.has(kind);
    const enough = isMissed ? goneAfterAnswers : 1;
    if (!resource.isOptional || this.#notServed < enough) {
      this.#state = { name: 'waiting', error };
      return this.#backoff.next();
    }
    if (this.#notServed === enough)
      logger.info({ kind }, 'the cluster does not serve this kind; it is looked for again');
    this.#state = { name: 'absent' };
    this.#unread = `is not served by the cluster, so no object of it is in force; install the custom resource ${resource.plural}.${resource.group} if it is meant to be`;
    if (!this.#isSynced || this.#ledger.size > 0) this.#tell(this.#ledger.clear());
    return settings.absentMs * (0.5 + Math.random() / 2);
  }

  get #apiVersion(): string {
    return apiVersionOf(this.#options.resource, this.#version);
  }

  #path(namespace: string | undefined): string {
    return resourcePath(this.#options.resource, {
      version: this.#version,
      ...(namespace === undefined ? {} : { namespace }),
    });
  }
}
