/**
 * The record of last good versions as a ConfigMap beside the control plane. Every replica reads it when it starts and follows it;
 * the one that leads writes it. It comes with the installation, so that nobody needs the right to make ConfigMaps.
 */
import { sleep } from '../../base/abort.ts';
import { Backoff, type BackoffOptions } from '../../base/backoff.ts';
import { HadalError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import {
  emptyRecord,
  formatRecord,
  type LastGoodObjects,
  type LastGoodRecord,
  parseRecord,
} from '../last-good.ts';
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';
import { type RawObject, watchEvents } from './watch-events.ts';
import { WriteQueue } from './write-queue.ts';

export interface LastGoodConfigMapOptions {
  readonly namespace: string;
  readonly logger: Logger;
  /** Default `hadal-last-good`. */
  readonly name?: string;
  /** Of its text. Default 900 KiB: an object of the API server may have 1 MiB in all. */
  readonly maxBytes?: number;
  readonly backoff?: BackoffOptions;
}

interface ConfigMap extends RawObject {
  readonly data?: Readonly<Record<string, string>>;
}

export const lastGoodName = 'hadal-last-good';
const dataKey = 'last-good.json';
const conflictAttempts = 5;

export class LastGoodConfigMap implements LastGoodObjects {
  readonly #api: ApiClient;
  readonly #options: Required<LastGoodConfigMapOptions>;
  readonly #path: string;
  readonly #queue: WriteQueue;
  #onRecord: (record: LastGoodRecord) => void = () => {};
  /** What is to be there; undefined until this replica knows. */
  #wish: LastGoodRecord | undefined;
  #resourceVersion: string | undefined;
  #readProblem: string | undefined;
  #writeProblem: string | undefined;

  constructor(api: ApiClient, options: LastGoodConfigMapOptions) {
    const backoff = { initialMs: 500, maxMs: 30_000, ...options.backoff };
    this.#api = api;
    this.#options = { name: lastGoodName, maxBytes: 900 * 1024, ...options, backoff };
    this.#path = `/api/v1/namespaces/${options.namespace}/configmaps`;
    this.#queue = new WriteQueue({ write: (_, signal) => this.#write(signal), logger: options.logger });
  }

  get problem(): string | undefined {
    return this.#readProblem ?? this.#writeProblem;
  }

  /** A server that does not answer is asked until it does: without it there is nothing else to read either. */
  async load(signal: AbortSignal): Promise<LastGoodRecord> {
    const backoff = new Backoff(this.#options.backoff);
    for (;;) {
      try {
        return await this.#read(signal);
      } catch (caught) {
        if (signal.aborted) throw caught;
        this.#notRead(caught);
        if (isApiError(caught, 401) || isApiError(caught, 403)) return emptyRecord;
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** Tells what others write from now on, until `signal` fires; never rejects. */
  async follow(onRecord: (record: LastGoodRecord) => void, signal: AbortSignal): Promise<void> {
    this.#onRecord = onRecord;
    const backoff = new Backoff(this.#options.backoff);
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) onRecord(await this.#read(signal));
        await this.#watch(signal);
        backoff.reset();
      } catch (caught) {
        if (signal.aborted) return;
        this.#resourceVersion = undefined;
        if (!isApiError(caught, 410)) this.#notRead(caught);
      }
      await sleep(backoff.next(), signal).catch(() => {});
    }
  }

  async save(record: LastGoodRecord): Promise<void> {
    this.#wish = record;
    this.#queue.add(this.#options.name);
  }

  /** Writes until `signal` fires: one term as a leader, which begins with a look at what the one before left. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#wish !== undefined) this.#queue.add(this.#options.name);
    await this.#queue.run(signal);
  }

  async #read(signal: AbortSignal): Promise<LastGoodRecord> {
    const { items = [], metadata } = await this.#api.request<{
      readonly items?: readonly ConfigMap[];
      readonly metadata?: { readonly resourceVersion?: string };
    }>({ path: this.#path, query: { fieldSelector: this.#selector }, signal });
    this.#resourceVersion = metadata?.resourceVersion;
    this.#readProblem = items.length === 0 ? this.#missing : undefined;
    return this.#recordOf(items[0]);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const batches = watchEvents(this.#api, {
      path: this.#path,
      query: {
        fieldSelector: this.#selector,
        resourceVersion: this.#resourceVersion,
        allowWatchBookmarks: true,
      },
      signal,
      onOpen: () => {},
    });
    for await (const batch of batches) {
      for (const { type, object } of batch) {
        this.#resourceVersion = object.metadata?.resourceVersion ?? this.#resourceVersion;
        if (type === 'BOOKMARK') continue;
        this.#readProblem = type === 'DELETED' ? this.#missing : undefined;
        if (type !== 'DELETED') this.#onRecord(this.#recordOf(object as ConfigMap));
        // The one that leads sees to it that it says what it should, whoever wrote it.
        if (this.#wish !== undefined) this.#queue.add(this.#options.name);
      }
    }
  }

  /** What is broken counts as nothing known; the next write mends it. */
  #recordOf(stored: ConfigMap | undefined): LastGoodRecord {
    const text = stored?.data?.[dataKey] ?? '';
    if (text === '') return emptyRecord;
    const { logger, name } = this.#options;
    try {
      const { record, leftOut } = parseRecord(text);
      for (const id of leftOut)
        logger.error({ object: id, configMap: name }, 'a last good version is not understood');
      return record;
    } catch (err) {
      logger.error(
        { err, configMap: name },
        'the last good versions of rejected objects cannot be read, so none is known; correct the objects that are rejected',
      );
      return emptyRecord;
    }
  }

  async #write(signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#compare(signal);
        return;
      } catch (caught) {
        if (isApiError(caught, 409) && attempt < conflictAttempts) continue;
        if (signal.aborted) throw caught;
        const { message } = HadalError.from(caught, 'ERR_LAST_GOOD');
        this.#writeProblem = isApiError(caught, 404)
          ? this.#missing
          : `the last good versions of rejected objects could not be kept, and other replicas do not know them: ${message}`;
        throw caught;
      }
    }
  }

  async #compare(signal: AbortSignal): Promise<void> {
    const { name, maxBytes, namespace } = this.#options;
    const path = `${this.#path}/${name}`;
    const stored = await this.#api.request<ConfigMap>({ path, signal });
    // Something that only the leader before knew is taken over, not written over.
    this.#onRecord(this.#recordOf(stored));
    const { text, leftOut } = this.#textOf(this.#wish ?? emptyRecord, maxBytes);
    if ((stored.data?.[dataKey] ?? '') !== text) {
      // With its resource version: whoever writes second has lost, and looks again.
      const body = { ...stored, data: { ...stored.data, [dataKey]: text } };
      await this.#api.request({ method: 'PUT', path, body, signal });
    }
    this.#writeProblem =
      leftOut.length === 0
        ? undefined
        : `the last good versions of ${leftOut.slice(0, 3).join(', ')} and what else does not fit in ${maxBytes} bytes are not in ConfigMap ${namespace}/${name}, and a replica that starts does not know them; correct what is rejected`;
  }

  #textOf(record: LastGoodRecord, maxBytes: number): { text: string; leftOut: readonly string[] } {
    return record.objects.length === 0 ? { text: '', leftOut: [] } : formatRecord(record, maxBytes);
  }

  #notRead(caught: unknown): void {
    const { message } = HadalError.from(caught, 'ERR_LAST_GOOD');
    const problem = `the last good versions of rejected objects cannot be read: ${message}`;
    if (problem !== this.#readProblem) this.#options.logger.warn(problem);
    this.#readProblem = problem;
  }

  get #selector(): string {
    return `metadata.name=${this.#options.name}`;
  }

  get #missing(): string {
    const { namespace, name } = this.#options;
    return `there is no ConfigMap ${namespace}/${name}, so the last good versions of rejected objects are not kept; apply daemonset/control-plane-rbac.yaml`;
  }
}
