/**
 * What became of an object, written into its `status.conditions`: read, compared, and patched only where something is different.
 * Conditions of others stay as they are; somebody else's write in between (409) is followed by another look.
 */
import type { Logger } from '../../base/logger.ts';
import type { ApiClient } from './api-client.ts';
import { isApiError } from './api-error.ts';
import { listPages } from './list-pages.ts';
import { apiResourceOf, resourcePath } from './resources.ts';
import { WriteQueue } from './write-queue.ts';

export interface StatusCondition {
  readonly type: string;
  readonly isTrue: boolean;
  readonly reason: string;
  readonly message: string;
}

export interface StatusTarget {
  readonly kind: ConditionKind;
  readonly namespace: string;
  readonly name: string;
}

export interface ConditionWriterOptions {
  readonly logger: Logger;
  readonly perSecond?: number;
  /** The version under which the server serves a kind. Default: the newest that is understood. */
  readonly versionOf?: (kind: ConditionKind) => string | undefined;
}

interface StoredCondition {
  readonly type: string;
  readonly status?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
  readonly observedGeneration?: number | string;
}

interface StoredObject {
  readonly metadata: { readonly resourceVersion: string; readonly generation?: number };
  readonly status?: { readonly conditions?: readonly StoredCondition[] };
}

/** Ours on each kind, by the names that tools for ambient meshes look for; one that is not wished for is taken away. */
export const ownedConditions = {
  AuthorizationPolicy: ['ZtunnelAccepted', 'WaypointAccepted'],
  PeerAuthentication: ['ZtunnelAccepted'],
  Service: ['istio.io/WaypointBound'],
  ServiceEntry: ['istio.io/WaypointBound'],
  Gateway: ['Accepted', 'Programmed'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type ConditionKind = keyof typeof ownedConditions;

/** Looks at an object that others write too, before it has to wait. */
const conflictAttempts = 5;

interface Wish {
  readonly target: StatusTarget;
  readonly conditions: readonly StatusCondition[];
  /** Of the version that was weighed. */
  readonly generation?: number | undefined;
}

export class ConditionWriter {
  readonly #api: ApiClient;
  readonly #wishes = new Map<string, Wish>();
  readonly #queue: WriteQueue;
  readonly #versionOf: (kind: ConditionKind) => string | undefined;
  #writes = 0;

  constructor(
    api: ApiClient,
    { logger, perSecond = 20, versionOf = () => undefined }: ConditionWriterOptions,
  ) {
    this.#api = api;
    this.#versionOf = versionOf;
    this.#queue = new WriteQueue({ write: (key, signal) => this.#write(key, signal), perSecond, logger });
  }

  /** Patches sent so far. */
  get writes(): number {
    return this.#writes;
  }

  /** Objects whose status was not compared yet. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** `generation`: of the version of the object that they are about. */
  set(target: StatusTarget, conditions: readonly StatusCondition[], generation?: number): void {
    const key = keyOf(target);
    const known = this.#wishes.get(key);
    const isSame =
      known !== undefined &&
      known.generation === generation &&
      JSON.stringify(known.conditions) === JSON.stringify(conditions);
    // Where nothing is to be said and nothing was, there is nothing to look at.
    if (isSame || (known === undefined && conditions.length === 0)) return;
    this.#wishes.set(key, { target, conditions, generation });
    this.#queue.add(key);
  }

  /** The object is gone, or nothing is wished for it any more and nothing was written. */
  forget(target: StatusTarget): void {
    this.#wishes.delete(keyOf(target));
    this.#queue.remove(keyOf(target));
  }

  /** Every object that something is wished for. */
  targets(): StatusTarget[] {
    return [...this.#wishes.values()].map(({ target }) => target);
  }

  /**
   * Writes until `signal` fires: one term as a leader. Whoever led before may have left anything behind, so everything is
   * compared first, by one list of each of `kinds`: that costs less than a look at each object.
   */
  async run(signal: AbortSignal, kinds: readonly ConditionKind[] = []): Promise<void> {
    for (const key of this.#wishes.keys()) this.#queue.add(key);
    for (const kind of kinds) {
      // What could not be compared so is looked at one by one.
      await this.#compareAll(kind, signal).catch(() => {});
    }
    await this.#queue.run(signal);
  }

  async #compareAll(kind: ConditionKind, signal: AbortSignal): Promise<void> {
    const owned: readonly string[] = ownedConditions[kind];
    await listPages(this.#api, {
      path: this.#path({ kind, namespace: '', name: undefined }),
      pageSize: 500,
      signal,
      onRestart: () => {},
      onPage: (items) => {
        for (const item of items) {
          const { namespace = '', name = '' } = item.metadata ?? {};
          const target = { kind, namespace, name };
          const stored = item as unknown as StoredObject;
          const wish = this.#wishes.get(keyOf(target)) ?? { target, conditions: [] };
          if (mergedConditions(stored, wish, new Date()) === undefined) this.#queue.remove(keyOf(target));
          else if (stored.status?.conditions?.some(({ type }) => owned.includes(type)) === true) {
            this.#wishes.set(keyOf(target), wish);
            this.#queue.add(keyOf(target));
          }
        }
      },
    });
  }

  async #write(key: string, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const wish = this.#wishes.get(key);
      if (wish === undefined) return;
      try {
        await this.#compare(wish, signal);
        return this.#settled(key, wish);
      } catch (error) {
        // Deleted meanwhile, or its kind is.
        if (isApiError(error, 404)) return this.#settled(key, wish);
        if (!isApiError(error, 409) || attempt === conflictAttempts) throw error;
      }
    }
  }

  /** An object that says nothing of ours need not be remembered. */
  #settled(key: string, wish: Wish): void {
    if (wish.conditions.length === 0 && this.#wishes.get(key) === wish) this.#wishes.delete(key);
  }

  async #compare(wish: Wish, signal: AbortSignal): Promise<void> {
    const stored = await this.#api.request<StoredObject>({ path: this.#path(wish.target), signal });
    const conditions = mergedConditions(stored, wish, new Date());
    if (conditions === undefined) return;
    this.#writes += 1;
    await this.#api.request({
      method: 'PATCH',
      path: this.#path(wish.target, 'status'),
      // With its resource version: what somebody else wrote since the look is not written over.
      body: { metadata: { resourceVersion: stored.metadata.resourceVersion }, status: { conditions } },
      signal,
    });
  }

  #path(
    { kind, namespace, name }: Omit<StatusTarget, 'name'> & { readonly name: string | undefined },
    subresource?: string,
  ): string {
    const version = this.#versionOf(kind);
    return resourcePath(apiResourceOf(kind), {
      namespace,
      ...(version === undefined ? {} : { version }),
      ...(name === undefined ? {} : { name }),
      ...(subresource === undefined ? {} : { subresource }),
    });
  }
}

/** Undefined when what is stored says it already. */
export function mergedConditions(
  { metadata, status }: StoredObject,
  { target, conditions, generation = metadata.generation }: Wish,
  now: Date,
): readonly StoredCondition[] | undefined {
  const owned: readonly string[] = ownedConditions[target.kind];
  const stored = status?.conditions ?? [];
  const others = stored.filter(({ type }) => !owned.includes(type));
  const next = conditions.map(({ type, isTrue, reason, message }): StoredCondition => {
    const old = stored.find((one) => one.type === type);
    const said = isTrue ? 'True' : 'False';
    const same = old?.status === said;
    return {
      type,
      status: said,
      reason,
      message,
      lastTransitionTime:
        same && old.lastTransitionTime !== undefined ? old.lastTransitionTime : seconds(now),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
  });
  const before = stored.filter(({ type }) => owned.includes(type));
  return sameConditions(before, next) ? undefined : [...others, ...next];
}

function sameConditions(before: readonly StoredCondition[], after: readonly StoredCondition[]): boolean {
  if (before.length !== after.length) return false;
  const text = ({ type, status, reason, message, observedGeneration }: StoredCondition) =>
    // Istio writes the generation as text.
    JSON.stringify([type, status, reason, message, String(observedGeneration ?? '')]);
  const known = new Set(before.map(text));
  return after.every((one) => known.has(text(one)));
}

/** As Kubernetes writes times. */
function seconds(now: Date): string {
  return now.toISOString().replace(/\.\d+Z$/, 'Z');
}

function keyOf({ kind, namespace, name }: StatusTarget): string {
  return `${kind} ${namespace}/${name}`;
}
