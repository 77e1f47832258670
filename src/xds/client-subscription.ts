/**
 * What an agent holds of one type of resources on a delta stream, and what it asks for: pure, nothing is sent here. What a
 * response makes of it stands in client-receive.ts.
 */
import type { MeshChange } from '../model/change.ts';
import { NamedValues } from '../model/named-values.ts';
import type { ResourceKind, ResourceVersions } from './versioned-change.ts';

/** A resource in force. */
export interface Retained {
  readonly kind: ResourceKind;
  /** '' of what was never understood: whatever the server has is to be sent again. */
  readonly version: string;
  /** Of what was never understood: what holds in its place. */
  readonly refuses?: string;
}

/** A resource whose version was refused. */
export interface Rejection {
  readonly version: string;
  readonly reason: string;
  /** Whom it refuses meanwhile, in words; absent where the last good version stays, or there is nothing to hold. */
  readonly refuses?: string;
}

/** What holds in place of a resource that was never understood. */
export interface Refusing {
  readonly kind: ResourceKind;
  readonly value: unknown;
  /** Whom it refuses, in words. */
  readonly refuses: string;
}

export interface Subscription {
  readonly typeUrl: string;
  /** False: only what was asked for by name. */
  readonly wildcard: boolean;
  /** Names asked for. */
  readonly wanted: NamedValues<true>;
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
  | {
      readonly name: string;
      readonly version: string;
      readonly reason: string;
      readonly refusing: Refusing | undefined;
    };

export interface ConvertedResponse {
  readonly nonce: string;
  /** Nothing more of the type follows at once. */
  readonly isLast: boolean;
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
  /** Of an earlier process. */
  readonly rejected?: Iterable<readonly [string, Rejection]>;
  readonly isComplete?: boolean;
}

export function createSubscription(start: SubscriptionStart): Subscription {
  const retained = NamedValues.empty<Retained>().with(start.retained ?? []);
  return Object.freeze({
    typeUrl: start.typeUrl,
    wildcard: start.wildcard,
    // What an earlier process asked for is to be followed on, or it would stay as it was for ever.
    wanted: namesOf(start.wildcard ? [] : retained.keys()),
    retained,
    rejected: NamedValues.empty<Rejection>().with(start.rejected ?? []),
    // Who asks by name has to wait for nothing.
    isComplete: start.isComplete === true || !start.wildcard,
  });
}

const none: readonly never[] = Object.freeze([]);
const noVersions: ReadonlyMap<string, string> = new Map();

/** Shared with the copy before: each connection to something new asks for more. */
function namesOf(names: Iterable<string>): NamedValues<true> {
  return NamedValues.empty<true>().with(Array.from(names, (name) => [name, true]));
}

/** The first request of this type on a stream: resumes with what is in force. */
export function openingRequest({ typeUrl, wildcard, wanted, retained }: Subscription): Request {
  return {
    typeUrl,
    // Only with both, as Istio's servers know it: the type without everything of it.
    subscribe: wildcard ? none : ['*', ...wanted.keys()],
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
    subscription: Object.freeze({ ...subscription, wanted: wanted.with(fresh.map((name) => [name, true])) }),
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
  const wanted = subscription.wanted.with(asked.map((name) => [name, undefined]));
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

/** Without resources that nobody asks for any more. */
export function forgetResources(subscription: Subscription, names: Iterable<string>): Subscription {
  const gone = Array.from(names, (name) => [name, undefined] as const);
  const { retained, rejected } = subscription;
  return Object.freeze({ ...subscription, retained: retained.with(gone), rejected: rejected.with(gone) });
}
