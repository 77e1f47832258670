/** A source that a test follows, and everything that it told. */
import {
  type ApiServerSource,
  type ApiServerSourceOptions,
  createApiServerSource,
} from '../../src/source/api-server/api-server-source.ts';
import type { KnownObject } from '../../src/source/kubernetes/objects.ts';
import type { ObjectChange, ObjectId } from '../../src/source/object-source.ts';
import { adminToken, clientFor, type Machines } from './machines.ts';

export interface Follower {
  readonly source: ApiServerSource;
  readonly changes: ObjectChange[];
  /** What a store that took in every change would hold. */
  readonly known: ReadonlyMap<ObjectId, KnownObject>;
  /** Last parts of the ids, sorted. */
  names(): string[];
  /** Resolves with the first whole read. */
  readonly started: Promise<void>;
  close(): Promise<void>;
}

export interface FollowOptions extends ApiServerSourceOptions {
  readonly token?: string;
}

/** Failures are followed by short pauses only, so that tests need not wait. */
const quick = { initialMs: 50, maxMs: 300 };

export function follow(machines: Pick<Machines, 'server' | 'directory'>, options: FollowOptions): Follower {
  const { token = adminToken, ...others } = options;
  const api = clientFor(machines, token);
  const source = createApiServerSource(api, { backoff: quick, absentMs: 300, ...others });
  const changes: ObjectChange[] = [];
  const known = new Map<ObjectId, KnownObject>();
  const started = source.start((change) => {
    changes.push(change);
    for (const id of change.removals) known.delete(id);
    for (const { id, object } of change.upserts) known.set(id, object);
  });
  started.catch(() => {});
  return {
    source,
    changes,
    known,
    started,
    names: () => [...known.keys()].map((id) => id.split('/').at(-1) ?? '').sort(),
    async close() {
      await source.close();
      api.close();
    },
  };
}

/** The services of one namespace. */
export async function followServices(
  machines: Pick<Machines, 'server' | 'directory'>,
  namespace: string,
  options: FollowOptions = {},
): Promise<Follower> {
  const follower = follow(machines, {
    kinds: ['Service'],
    selectors: { Service: { namespace } },
    ...options,
  });
  await follower.started;
  return follower;
}
