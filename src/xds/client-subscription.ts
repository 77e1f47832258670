/**
 * What an agent holds of one type of resources on a delta stream, and what a message makes of it: pure, nothing is sent here.
 *
 * A response is converted as a whole and applied once. A resource that is not understood is refused alone, by name; its last
 * good version stays in force, and stays named in `initial_resource_versions`, so that the server sends its own again.
 */
import { createChange, type MeshChange, type MeshChangeFields } from '../model/change.ts';
import { NamedValues } from '../model/named-values.ts';
import type { ResourceKind, ResourceVersions } from './versioned-change.ts';

/** A resource in force. */
export interface Retained {
  readonly kind: ResourceKind;
  readonly version: string;
}

/** A resource whose version was refused. */
export interface Rejection {
  readonly version: string;
  readonly reason: string;
}

export interface Subscription {
  readonly typeUrl: string;
  /** False: only what was asked for by name. */
  readonly wildcard: boolean;
  /** Names asked for. */
  readonly wanted: ReadonlySet<string>;
  readonly retained: NamedValues<Retained>;
  readonly rejected: NamedValues<Rejection>;
  /** All that there was at some time has been received, here or by an earlier process: it may be put in force. */
  readonly isComplete: boolean;
}

/** A resource of a response, converted or refused. */
export type Converted =
  | {
      readonly name: string;
      readonly version: string;
      readonly kind: ResourceKind;
      readonly value: unknown;
    }
  | { readonly name: string; readonly version: string; readonly reason: string };

export interface ConvertedResponse {
  readonly nonce: string;
  readonly resources: readonly Converted[];
  readonly removed: readonly string[];
}

export interface Request {
  readonly typeUrl: string;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  readonly versions: ReadonlyMap<string, string>;
  readonly nonce: string;
  /** Why a part of the response was refused; undefined acknowledges all of it. */
  readonly refusal: string | undefined;
}

export interface Received {
  readonly subscription: Subscription;
  readonly change: MeshChange;
  readonly versions: ResourceVersions;
  readonly reply: Request;
  /** Names that were asked for, and of which the server says that there is nothing. */
  readonly absent: readonly string[];
}

/** What is wanted from now on, and the request that says so. */
export interface Asked {
  readonly subscription: Subscription;
  readonly request: Request;
}

export interface SubscriptionStart {
  readonly typeUrl: string;
  readonly wildcard: boolean;
  readonly retained?: Iterable<readonly [string, Retained]>;
  readonly isComplete?: boolean;
}

export function createSubscription(start: SubscriptionStart): Subscription {
  const retained = NamedValues.empty<Retained>().with(start.retained ?? []);
  return Object.freeze({
    typeUrl: start.typeUrl,
    wildcard: start.wildcard,
    // What an earlier process asked for is to be followed on, or it would stay as it was for ever.
    wanted: new Set<string>(start.wildcard ? [] : retained.keys()),
    retained,
    rejected: NamedValues.empty<Rejection>(),
    // Who asks by name has to wait for nothing.
    isComplete: start.isComplete === true || !start.wildcard,
  });
}

const none: readonly never[] = Object.freeze([]);
const noVersions: ReadonlyMap<string, string> = new Map();

/** The first request of this type on a stream: resumes with what is in force. */
export function openingRequest({ typeUrl, wildcard, wanted, retained }: Subscription): Request {
  return {
    typeUrl,
    // Only with both, as Istio's servers know it: the type without everything of it.
    subscribe: wildcard ? none : ['*', ...wanted],
    unsubscribe: wildcard ? none : ['*'],
    versions: new Map(Array.from(retained, ([name, { version }]) => [name, version])),
    nonce: '',
    refusal: undefined,
  };
}

/** Asks for names that were not asked for yet; undefined when there are none. */
export function lookUp(subscription: Subscription, names: Iterable<string>): Asked | undefined {
  const fresh = [...new Set(names)].filter((name) => !subscription.wanted.has(name));
  if (fresh.length === 0 || subscription.wildcard) return undefined;
  const { typeUrl, wanted } = subscription;
  return {
    subscription: Object.freeze({ ...subscription, wanted: new Set([...wanted, ...fresh]) }),
    request: {
      typeUrl,
      subscribe: fresh,
      unsubscribe: none,
      versions: noVersions,
      nonce: '',
      refusal: undefined,
    },
  };
}

/** Stops asking for names, so that a later question asks anew. */
export function lookAway(subscription: Subscription, names: Iterable<string>): Asked | undefined {
  const asked = [...names].filter((name) => subscription.wanted.has(name));
  if (asked.length === 0) return undefined;
  const wanted = new Set(subscription.wanted);
  for (const name of asked) wanted.delete(name);
  const { typeUrl } = subscription;
  return {
    subscription: Object.freeze({ ...subscription, wanted }),
    request: {
      typeUrl,
      subscribe: none,
      unsubscribe: asked,
      versions: noVersions,
      nonce: '',
      refusal: undefined,
    },
  };
}

export function receive(subscription: Subscription, response: ConvertedResponse): Received {
  const effect = new Effect(subscription);
  for (const name of response.removed) effect.remove(name);
  for (const resource of response.resources) {
    if ('reason' in resource) effect.refuse(resource);
    else effect.accept(resource.name, resource.version, resource.kind, resource.value);
  }
  return effect.result(response.nonce);
}

/** Collects what one response does. */
class Effect {
  readonly #subscription: Subscription;
  readonly #retained = new Map<string, Retained | undefined>();
  readonly #rejected = new Map<string, Rejection | undefined>();
  readonly #upserts = { workloads: new Map(), services: new Map(), policies: new Map() } as Record<
    ResourceKind,
    Map<string, unknown>
  >;
  readonly #removals = { workloads: new Set(), services: new Set(), policies: new Set() } as Record<
    ResourceKind,
    Set<string>
  >;
  readonly #unknown = new Set<string>();
  readonly #absent: string[] = [];

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
  }

  remove(name: string): void {
    const { retained, wanted, typeUrl } = this.#subscription;
    const kind = retained.get(name)?.kind;
    if (wanted.has(name)) this.#absent.push(name);
    if (kind !== undefined) this.#removals[kind].add(name);
    // Of a policy that was never understood this is news: it is not missing, it is gone.
    else if (typeUrl.endsWith('Authorization')) this.#removals.policies.add(name);
    this.#retained.set(name, undefined);
    this.#rejected.set(name, undefined);
  }

  accept(name: string, version: string, kind: ResourceKind, value: unknown): void {
    const before = this.#subscription.retained.get(name)?.kind;
    if (before !== undefined && before !== kind) this.#removals[before].add(name);
    this.#removals[kind].delete(name);
    this.#upserts[kind].set(name, value);
    this.#retained.set(name, { kind, version });
    this.#rejected.set(name, undefined);
    this.#unknown.delete(name);
  }

  refuse({ name, version, reason }: { name: string; version: string; reason: string }): void {
    this.#rejected.set(name, { version, reason });
    if (this.#subscription.typeUrl.endsWith('Authorization')) this.#unknown.add(name);
  }

  result(nonce: string): Received {
    const { typeUrl, retained, rejected } = this.#subscription;
    const refused = [...this.#rejected].flatMap(([name, rejection]) =>
      rejection === undefined ? [] : [`${name}: ${rejection.reason}`],
    );
    const subscription = Object.freeze({
      ...this.#subscription,
      retained: retained.with(this.#retained),
      rejected: rejected.with(this.#rejected),
      isComplete: true,
    });
    const reply = {
      typeUrl,
      subscribe: none,
      unsubscribe: none,
      versions: noVersions,
      nonce,
      refusal: refused.length === 0 ? undefined : refused.join('; '),
    };
    return { subscription, change: this.#change(), versions: this.#versions(), reply, absent: this.#absent };
  }

  #change(): MeshChange {
    const of = (kind: ResourceKind) => ({
      upserts: [...this.#upserts[kind].values()],
      removals: [...this.#removals[kind]],
    });
    const policies = {
      ...of('policies'),
      ...(this.#unknown.size === 0 ? {} : { unknown: [...this.#unknown] }),
    };
    return createChange({
      workloads: of('workloads'),
      services: of('services'),
      policies,
    } as MeshChangeFields);
  }

  #versions(): ResourceVersions {
    const of = (kind: ResourceKind) =>
      new Map(Array.from(this.#upserts[kind].keys(), (name) => [name, this.#versionOf(name)] as const));
    return { workloads: of('workloads'), services: of('services'), policies: of('policies') };
  }

  #versionOf(name: string): string {
    return this.#retained.get(name)?.version ?? '';
  }
}
