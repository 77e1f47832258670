import { isDeepStrictEqual } from 'node:util';
import type { Authorization } from './authorization.ts';
import type { Service } from './service.ts';
import { type MeshSnapshot, networkAddressKey } from './snapshot.ts';
import type { Workload } from './workload.ts';

/**
 * What a judgement may depend on, and so what a diff names. A judgement lists the keys it looked at; it must be made
 * again when one of them is among `SnapshotDiff.keys`.
 */
export const dependency = Object.freeze({
  workload: (uid: string) => `workload:${uid}`,
  /** The service itself or any of its endpoints. */
  service: (key: string) => `service:${key}`,
  policy: (key: string) => `policy:${key}`,
  /** Who owns an address: workloads and services with exactly this one. */
  address: (network: string, address: string) => `address:${networkAddressKey(network, address)}`,
  /** Services with ranges of addresses on a network. */
  ranges: (network: string) => `ranges:${network}`,
  hostname: (hostname: string) => `hostname:${hostname}`,
  /** The policies of a namespace. */
  namespace: (namespace: string) => `namespace:${namespace}`,
  /** The policies of the whole mesh. */
  global: 'global:',
  /** Whether a pod is carried on this node, and how; no mesh state tells it. */
  localPod: (uid: string) => `local-pod:${uid}`,
  /** Whether traffic between pods of this node stays on it; no mesh state tells it. */
  sameNodePath: 'same-node-path:',
});

export interface Changes {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

export interface SnapshotDiff {
  readonly workloads: Changes;
  readonly services: Changes;
  readonly policies: Changes;
  /** Dependency keys of all that changed. */
  readonly keys: ReadonlySet<string>;
}

export function diffSnapshots(old: MeshSnapshot, next: MeshSnapshot): SnapshotDiff {
  const keys = new Set<string>();
  const workloads = compare(old.workloads, next.workloads, (workload) => addWorkloadKeys(keys, workload));
  const services = compare(old.services, next.services, (service) => addServiceKeys(keys, service));
  const policies = compare(old.policies, next.policies, (policy) => addPolicyKeys(keys, policy));
  addNames(keys, workloads, dependency.workload);
  addNames(keys, services, dependency.service);
  addNames(keys, policies, dependency.policy);
  addGoneKeys(keys, old.gonePolicies, next.gonePolicies);
  return Object.freeze({ workloads, services, policies, keys });
}

/** Whether a judgement that lists `dependencies` may come out differently now. */
export function isAffected(dependencies: readonly string[], diff: SnapshotDiff): boolean {
  return dependencies.some((key) => diff.keys.has(key));
}

/** Compares by content; a resource that is the same object costs nothing. `touch` sees each version that differs. */
function compare<T>(
  old: ReadonlyMap<string, T>,
  next: ReadonlyMap<string, T>,
  touch: (value: T) => void,
): Changes {
  const changes = { added: [] as string[], changed: [] as string[], removed: [] as string[] };
  for (const [name, value] of next) {
    const before = old.get(name);
    if (before === undefined) {
      changes.added.push(name);
      touch(value);
    } else if (before !== value && !isDeepStrictEqual(before, value)) {
      changes.changed.push(name);
      touch(before);
      touch(value);
    }
  }
  for (const [name, value] of old) {
    if (!next.has(name)) {
      changes.removed.push(name);
      touch(value);
    }
  }
  return Object.freeze(changes);
}

export function addNames(keys: Set<string>, changes: Changes, toKey: (name: string) => string): void {
  for (const names of [changes.added, changes.changed, changes.removed]) {
    for (const name of names) {
      keys.add(toKey(name));
    }
  }
}

/** Names of policies that are gone in one of the two and not in the other. */
export function addGoneKeys(keys: Set<string>, old: ReadonlySet<string>, next: ReadonlySet<string>): void {
  if (old === next) return;
  for (const name of old) if (!next.has(name)) keys.add(dependency.policy(name));
  for (const name of next) if (!old.has(name)) keys.add(dependency.policy(name));
}

export function addWorkloadKeys(keys: Set<string>, workload: Workload): void {
  for (const address of workload.addresses) {
    keys.add(dependency.address(workload.network, address));
  }
  for (const { service } of workload.services) {
    keys.add(dependency.service(service));
  }
}

export function addServiceKeys(keys: Set<string>, service: Service): void {
  keys.add(dependency.hostname(service.hostname));
  for (const { network, address, length } of service.addresses) {
    keys.add(dependency.address(network, address));
    if (length !== undefined) {
      keys.add(dependency.ranges(network));
    }
  }
}

export function addPolicyKeys(keys: Set<string>, policy: Authorization): void {
  if (policy.scope === 'GLOBAL') {
    keys.add(dependency.global);
  } else if (policy.scope === 'NAMESPACE') {
    keys.add(dependency.namespace(policy.namespace));
  }
}
