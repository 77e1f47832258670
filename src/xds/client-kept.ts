/** What an earlier process had in force, as subscriptions begin with it. */
import type { KeptResources } from './client-options.ts';
import type { Rejection, Retained } from './client-subscription.ts';
import type { ResourceKind } from './versioned-change.ts';

export function retainedOf({ versions, refusing }: KeptResources, kind: ResourceKind): [string, Retained][] {
  return Array.from(versions[kind], ([name, version]) => {
    const refuses = kind === 'policies' ? refusing?.get(name)?.refuses : undefined;
    return [name, { kind, version, ...(refuses !== undefined && { refuses }) }];
  });
}

/** Of an earlier process: which version it was nobody knows, only that it was not understood. */
export function rejectedOf(
  kept: KeptResources | undefined,
  retained: readonly (readonly [string, Retained])[],
): [string, Rejection][] {
  return retained.flatMap(([name, { refuses }]): [string, Rejection][] => {
    const reason = kept?.refusing?.get(name)?.reason;
    return refuses === undefined || reason === undefined ? [] : [[name, { version: '', reason, refuses }]];
  });
}
