/** The objects of a Kubernetes cluster, by its API. */
import { abortedError } from '../../base/abort.ts';
import type { BackoffOptions } from '../../base/backoff.ts';
import { HadalError } from '../../base/errors.ts';
import { type Logger, silentLogger } from '../../base/logger.ts';
import type { Generation } from '../../xds/generation.ts';
import { isEmptyChange, mergeChanges } from '../change-builder.ts';
import { meshKinds, type ObjectKind, securityKinds } from '../kubernetes/objects.ts';
import type { ObjectChange, ObjectId, ObjectSource, SourceStatus, UnreadKind } from '../object-source.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError } from './api-error.ts';
import type { KindReport } from './kind-report.ts';
import { type KindSelector, KindWatch, type KindWatchSettings } from './kind-watch.ts';
import type { LastGoodConfigMap } from './last-good-config-map.ts';
import { apiResources } from './resources.ts';

export interface ApiServerSourceOptions {
  /** Default: every kind that the mesh reads. */
  readonly kinds?: readonly ObjectKind[];
  /** Which objects of a kind; an agent reads the pods of its own node only. */
  readonly selectors?: Readonly<Partial<Record<ObjectKind, KindSelector>>>;
  /** Items of a page of a list. Default 500, as kubectl and client-go have it. */
  readonly pageSize?: number;
  /** The server ends a watch after a half to the whole of this. Default 600,000. */
  readonly watchMs?: number;
  /** How often a custom resource that the cluster lacks is asked for again. Default 10,000. */
  readonly absentMs?: number;
  /** After failures. Default 500 ms doubled up to 30 s, half of it left to chance. */
  readonly backoff?: BackoffOptions;
  readonly logger?: Logger;
  /** What replicas tell each other of objects that are bad. Default: nothing, as for a reader that judges nothing. */
  readonly lastGood?: LastGoodConfigMap;
  /** Whose resource versions these are: replicas that read one cluster say the same. Default `kubernetes`. */
  readonly lineage?: string;
}

export interface ApiServerSource extends ObjectSource {
  /** What each kind is doing. */
  readonly kinds: ReadonlyMap<ObjectKind, KindReport>;
}

export function createApiServerSource(api: ApiClient, options: ApiServerSourceOptions = {}): ApiServerSource {
  return new KubernetesSource(api, options);
}

class KubernetesSource implements ApiServerSource {
  readonly #api: ApiClient;
  readonly #lineage: string;
  readonly #lastGood: LastGoodConfigMap | undefined;
  readonly #watches = new Map<ObjectKind, KindWatch>();
  readonly #closing = new AbortController();
  /** What came before everything was read once. */
  #early: ObjectChange[] | undefined = [];
  #onChange: ((change: ObjectChange) => void) | undefined;
  #onVerdict: (ids: readonly ObjectId[]) => void = () => {};
  #synced = Promise.withResolvers<void>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(api: ApiClient, options: ApiServerSourceOptions) {
    this.#api = api;
    this.#lineage = options.lineage ?? 'kubernetes';
    this.#lastGood = options.lastGood;
    const settings: KindWatchSettings = {
      pageSize: options.pageSize ?? 500,
      watchMs: options.watchMs ?? 600_000,
      absentMs: options.absentMs ?? 10_000,
      backoff: { initialMs: 500, maxMs: 30_000, ...options.backoff },
    };
    for (const kind of options.kinds ?? meshKinds()) {
      const watch: KindWatch = new KindWatch(api, {
        kind,
        resource: apiResources[kind],
        selector: options.selectors?.[kind] ?? {},
        settings,
        logger: options.logger ?? silentLogger,
        onChange: (change) => this.#take(change, watch),
      });
      this.#watches.set(kind, watch);
    }
  }

  async start(
    onChange: (change: ObjectChange) => void,
    onVerdict: (ids: readonly ObjectId[]) => void = () => {},
  ): Promise<void> {
    if (this.#onChange !== undefined) throw new HadalError('ERR_INTERNAL', 'this source was started before');
    this.#onChange = onChange;
    this.#onVerdict = onVerdict;
    const { signal } = this.#closing;
    signal.addEventListener('abort', () =>
      this.#synced.reject(abortedError(signal, 'the first read of the Kubernetes API')),
    );
    this.#synced.promise.catch(() => {});
    this.#running = this.#run(signal);
    await this.#synced.promise;
  }

  get status(): SourceStatus {
    const watches = [...this.#watches.values()];
    return {
      name: `Kubernetes API ${this.#api.server}`,
      isSynced: this.#early === undefined,
      rejected: watches.flatMap((watch) => watch.rejected),
      error: this.#error(),
      unread: this.#unread(),
      problems: this.#lastGood?.problem === undefined ? [] : [this.#lastGood.problem],
      ...this.#generation(),
    };
  }

  get kinds(): ReadonlyMap<ObjectKind, KindReport> {
    return new Map([...this.#watches].map(([kind, { report }]) => [kind, report]));
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the source is closed'));
    await this.#running;
  }

  /** Resource versions of one API server grow in the order in which things happened, whoever watches. */
  #generation(): { readonly generation?: Generation } {
    if (this.#early !== undefined) return {};
    const positions = new Map<string, bigint>();
    const told = new Map<string, bigint>();
    for (const [kind, { report }] of this.#watches) {
      const { resourceVersion = '', toldAt = '' } = report;
      if (!isNumber(resourceVersion)) continue;
      positions.set(kind, BigInt(resourceVersion));
      told.set(kind, BigInt(isNumber(toldAt) ? toldAt : resourceVersion));
    }
    return positions.size === 0 ? {} : { generation: { lineage: this.#lineage, positions, told } };
  }

  /** What others knew comes first: an object that is bad is judged by it. */
  async #run(signal: AbortSignal): Promise<void> {
    const watches = [...this.#watches.values()];
    const record = await this.#lastGood?.load(signal).catch(() => undefined);
    for (const watch of watches) watch.remember(record?.objects ?? []);
    const following = this.#lastGood?.follow(({ objects }) => {
      for (const watch of watches) watch.remember(objects);
    }, signal);
    await Promise.all([following, ...watches.map((watch) => watch.run(signal))]);
  }

  #take(change: ObjectChange, watch: KindWatch): void {
    const verdicts = watch.takeVerdicts();
    if (verdicts.length > 0) this.#onVerdict(verdicts);
    const wasSynced = this.#early === undefined;
    this.#hand(change);
    // Once at the start: what was kept of objects that are good by now is not to be kept.
    if (this.#early === undefined && (!wasSynced || verdicts.length > 0)) this.#keep();
  }

  #hand(change: ObjectChange): void {
    if (this.#early === undefined) {
      if (!isEmptyChange(change)) this.#onChange?.(change);
      return;
    }
    this.#early.push(change);
    if ([...this.#watches.values()].some(({ isSynced }) => !isSynced)) return;
    const first = mergeChanges(this.#early);
    this.#early = undefined;
    this.#onChange?.(first);
    this.#synced.resolve();
  }

  #keep(): void {
    const objects = [...this.#watches.values()].flatMap(({ lastGood }) => lastGood);
    void this.#lastGood?.save({ objects, files: [] });
  }

  /** Kinds that say who may connect. */
  #unread(): UnreadKind[] {
    return [...this.#watches].flatMap(([kind, { unread }]) =>
      unread === undefined || !securityKinds.has(kind) ? [] : { kind, reason: unread },
    );
  }

  /** One sentence for one cause, however many kinds it holds up. */
  #error(): string | undefined {
    const kindsByCause = new Map<string, ObjectKind[]>();
    for (const [kind, { state }] of this.kinds) {
      if (state.name !== 'waiting') continue;
      const cause = this.#causeOf(state.error);
      kindsByCause.set(cause, [...(kindsByCause.get(cause) ?? []), kind]);
    }
    if (kindsByCause.size === 0) return undefined;
    return [...kindsByCause].map(([cause, kinds]) => `${kinds.join(', ')}: ${cause}`).join('\n');
  }

  #causeOf(error: HadalError): string {
    if (!(error instanceof ApiError) || error.status !== 0) return error.message;
    return `no answer from ${this.#api.server}: ${error.said}; is the API server running, and is there a way to it?`;
  }
}

function isNumber(resourceVersion: string): boolean {
  return /^\d+$/.test(resourceVersion);
}
