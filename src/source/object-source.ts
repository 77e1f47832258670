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

export interface RejectedObject {
  /** Undefined when it does not even say what it is. */
  readonly id: ObjectId | undefined;
  /** File and document, or the API server's resource version. */
  readonly origin: string;
  readonly field: string;
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
  /**
   * Up to where everything has been handed over, in numbers that every replica counts alike; undefined where there are none.
   */
  readonly generation?: Generation;
}

export interface ObjectSource extends Closeable {
  /**
   * Reads everything, hands it over as one change, then resolves; later changes follow until close(). A source that loses its
   * server says so in `status`, keeps what it knows and goes on trying; after that it tells only differences, deletions among them.
   */
  start(onChange: (change: ObjectChange) => void): Promise<void>;
  readonly status: SourceStatus;
}
