/** Where objects come from: the Kubernetes API or a directory of manifests. Whoever reads them cannot tell which. */
import type { Closeable } from '../base/lifecycle.ts';
import type { Generation } from '../xds/generation.ts';
import type { KnownObject } from './kubernetes/objects.ts';

/** `<apiVersion>/<kind>/<namespace>/<name>`, without the namespace for kinds that have none: `v1/Pod/shop/front-1`. */
export type ObjectId = string;

export interface SourceObject {
  readonly id: ObjectId;
  readonly object: KnownObject;
}

/** What happened together. An object is in one of the two lists at most. */
export interface ObjectChange {
  readonly upserts: readonly SourceObject[];
  readonly removals: readonly ObjectId[];
}

/** What counts instead of a version that is bad. A placeholder refuses, since nobody knows what was in force before. */
export type InForce = 'last good version' | 'placeholder' | 'nothing';

export interface RejectedObject {
  /** Undefined when it does not even say what it is. */
  readonly id: ObjectId | undefined;
  /** File and document, or the API server's resource version. */
  readonly origin: string;
  readonly field: string;
  readonly reason: string;
  /** Undefined for what is no object by itself: a file, a second version of a name. */
  readonly inForce?: InForce;
  /** Of the version that is bad, where the API server counts them. */
  readonly generation?: number;
}

/** A kind that says who may connect, and of which nothing is known. */
export interface UnreadKind {
  readonly kind: string;
  /** A sentence with the next step. */
  readonly reason: string;
}

export interface SourceStatus {
  /** `directory /etc/mesh`, `Kubernetes API https://10.96.0.1`. */
  readonly name: string;
  /** Everything was read once. */
  readonly isSynced: boolean;
  /** Objects whose newest version is bad: their last good one, if there was one, is what the change lists say. */
  readonly rejected: readonly RejectedObject[];
  /** Why nothing newer is known at the moment; a sentence with the next step. */
  readonly error: string | undefined;
  /** Kinds of policies that are not read: not one of them is enforced beyond what was read before. */
  readonly unread?: readonly UnreadKind[];
  /** What is amiss though everything is read: a sentence each, with the next step. */
  readonly problems?: readonly string[];
  /**
   * Up to where everything has been handed over, in numbers that every replica counts alike; undefined where there are none.
   */
  readonly generation?: Generation;
}

export interface ObjectSource extends Closeable {
  /**
   * Reads everything, hands it over as one change, then resolves; later changes follow until close(). A source that loses its
   * server says so in `status`, keeps what it knows and goes on trying; after that it tells only differences, deletions among them.
   * `onVerdict` is told of objects that became bad, or are bad in another way; what is in force need not change with that.
   */
  start(
    onChange: (change: ObjectChange) => void,
    onVerdict?: (ids: readonly ObjectId[]) => void,
  ): Promise<void>;
  readonly status: SourceStatus;
}
