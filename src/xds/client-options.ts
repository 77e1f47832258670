import type { Metadata } from '@grpc/grpc-js';
import type { Backoff } from '../base/backoff.ts';
import type { Logger } from '../base/logger.ts';
import type { RawResource, XdsTransport } from './client-stream.ts';
import type { Refusing } from './client-subscription.ts';
import type { NodeIdentity } from './node-identity.ts';
import type { KeptVersions, ResourceKind, VersionedChange } from './versioned-change.ts';

export interface ConvertedResource {
  readonly kind: ResourceKind;
  /** Its own, which must be that of the resource. */
  readonly name: string;
  readonly value: unknown;
}

/** What is in force from before. */
export interface KeptResources extends KeptVersions {
  /** Of what was never understood and refuses: why, and whom. */
  readonly refusing?: ReadonlyMap<string, { readonly reason: string; readonly refuses: string }>;
}

/** Names of resources. */
export interface Gone {
  readonly workloads: readonly string[];
  readonly services: readonly string[];
}

export interface XdsClientOptions {
  /** As told to operators. */
  readonly address: string;
  readonly transport: XdsTransport;
  /** Read for each stream: tokens are replaced while the agent runs. */
  readonly metadata: () => Promise<Metadata>;
  readonly node: NodeIdentity;
  /** Addresses are asked for by name, when somebody wants to know. */
  readonly onDemand: boolean;
  /** Versions of what is in force already; undefined: nothing ever was. */
  readonly kept: KeptResources | undefined;
  /** Throws an error that says why it does not understand the resource. */
  readonly convert: (typeUrl: string, resource: RawResource) => ConvertedResource;
  /** What holds in place of a resource that was not understood and has no good version; undefined: nothing. */
  readonly refusing: (typeUrl: string, resource: RawResource, reason: string) => Refusing | undefined;
  /** In turn; the response is answered when it resolves. Must not reject. */
  readonly onChange: (change: VersionedChange) => void | Promise<void>;
  /** Names that were asked for, and of which the server says that there is nothing. */
  readonly onAbsent?: (names: readonly string[]) => void;
  /** A stream has opened: whoever waits for the same server may try again. */
  readonly onConnected?: () => void;
  /** How long a state that is behind, or of another lineage, is not taken while no other comes. Default: ten minutes. */
  readonly behindPatienceMs?: number;
  readonly logger: Logger;
  readonly backoff?: Backoff;
}
