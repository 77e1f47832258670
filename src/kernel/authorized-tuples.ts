/** Tuples by which connections pass the listeners of their destination's namespace, and what is known of each. */
import type { BpfMap, BtfType } from '../native/types.ts';
import { type StructCodec, structCodec } from './codec.ts';
import { TypedMap } from './typed-map.ts';

export interface Tuple {
  readonly client: string;
  readonly server: string;
  readonly clientPort: number;
  readonly serverPort: number;
}

/** Of a direct connection, by its tuple as its client sees it. */
export interface Authorization {
  readonly destinationPodIndex: number;
  readonly sourcePodIndex: number;
  readonly inboundEdge: number;
  /** The destination's lookup has passed it. */
  readonly seen: number;
  /** CLOCK_MONOTONIC. */
  readonly openedNs: bigint;
  /** Of the destination's socket; 0: not accepted yet. */
  readonly acceptedCookie: bigint;
  /** For which the agent ends it, at the destination. */
  readonly endReason: number;
}

export type AuthorizedTuples = TypedMap<Tuple, Authorization>;

export function tupleCodec(type: BtfType): StructCodec<Tuple> {
  return structCodec<Tuple>(type, ['client', 'server', 'clientPort', 'serverPort']);
}

export function authorizedTuples(map: BpfMap, key: BtfType, value: BtfType): AuthorizedTuples {
  return new TypedMap(
    map,
    tupleCodec(key),
    structCodec<Authorization>(value, [
      'destinationPodIndex',
      'sourcePodIndex',
      'inboundEdge',
      'seen',
      'openedNs',
      'acceptedCookie',
      'endReason',
    ]),
  );
}

/** Which end of a connection has left the mesh, or its address. */
export type Departed = 'source' | 'destination';

/**
 * Lets nobody in any more by the tuples of which somebody has departed. What the destination has accepted goes on: it stays known for a
 * direct connection, without who left, until its client's socket closes.
 */
export function forgetAuthorized(
  authorized: AuthorizedTuples,
  departed: (tuple: Tuple, authorization: Authorization) => Departed | undefined,
): void {
  const closed: Tuple[] = [];
  for (const [tuple, authorization] of authorized.entries()) {
    const who = departed(tuple, authorization);
    if (who === undefined) continue;
    const left = who === 'source' ? { sourcePodIndex: 0 } : { destinationPodIndex: 0 };
    if (authorization.acceptedCookie === 0n) closed.push(tuple);
    else authorized.update(tuple, { ...authorization, ...left, seen: 0 });
  }
  authorized.deleteAll(closed);
}
