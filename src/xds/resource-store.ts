/**
 * What a control plane has to tell: every resource of the mesh, encoded, under the names by which agents ask. A change costs what
 * it is large; a resource that comes again unchanged is no change.
 */
import { HadalError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import { policyKey } from '../model/authorization.ts';
import type { KindChange, MeshChange } from '../model/change.ts';
import { cidrContains } from '../model/cidr.ts';
import { serviceKey } from '../model/service.ts';
import { formatGeneration, type Generation, laterGeneration, makeOwnLineage } from './generation.ts';
import { type ResourceKind, StoredResource } from './stored-resource.ts';

/** What a change did. A resource that was replaced stands in `upserts` alone. */
export interface StoreChange {
  readonly upserts: readonly StoredResource[];
  readonly removals: readonly StoredResource[];
}

export interface StoreProblem {
  readonly kind: ResourceKind;
  readonly name: string;
  readonly reason: string;
}

const ownChanges = 'changes';

export class ResourceStore {
  /** Until somebody says how much was seen, in numbers that all replicas count alike, it counts its own changes. */
  #generation: Generation = { lineage: makeOwnLineage(), positions: new Map([[ownChanges, 0n]]) };
  readonly #resources = {
    workloads: new Map<string, StoredResource>(),
    services: new Map<string, StoredResource>(),
    policies: new Map<string, StoredResource>(),
  };
  readonly #byAlias = new Map<string, Set<StoredResource>>();
  readonly #endpoints = new Map<string, Set<StoredResource>>();
  readonly #ranged = new Set<StoredResource>();
  readonly #followers = new Set<(change: StoreChange) => void>();
  readonly #problems = new Map<string, StoreProblem>();
  #generationText = formatGeneration(this.#generation);

  get generation(): Generation {
    return this.#generation;
  }
  get generationText(): string {
    return this.#generationText;
  }
  get counts(): Readonly<Record<ResourceKind, number>> {
    const { workloads, services, policies } = this.#resources;
    return { workloads: workloads.size, services: services.size, policies: policies.size };
  }
  /** Resources that cannot be written to the wire; the versions before them stay. */
  get problems(): StoreProblem[] {
    return [...this.#problems.values()];
  }

  /** Called in turn with each change; returns how to stop. */
  follow(follower: (change: StoreChange) => void): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  /** Takes a change in and tells those who follow. `seen`: how much had been seen when it was made. */
  apply(change: MeshChange, seen?: Generation): StoreChange {
    const upserts: StoredResource[] = [];
    const removals: StoredResource[] = [];
    this.#applyKind('services', change.services, serviceKey, StoredResource.service, upserts, removals);
    this.#applyKind(
      'workloads',
      change.workloads,
      ({ uid }) => uid,
      StoredResource.workload,
      upserts,
      removals,
    );
    this.#applyKind('policies', change.policies, policyKey, StoredResource.policy, upserts, removals);
    const applied = { upserts, removals };
    const isChange = upserts.length > 0 || removals.length > 0;
    if (seen !== undefined) this.advance(seen);
    else if (isChange) this.#countChange();
    if (isChange) for (const follower of this.#followers) follower(applied);
    return applied;
  }

  /** More was seen, and nothing changed by it. */
  advance(seen: Generation): void {
    this.#generation = laterGeneration(this.#generation, seen);
    this.#generationText = formatGeneration(this.#generation);
  }

  get(kind: ResourceKind, name: string): StoredResource | undefined {
    return this.#resources[kind].get(name);
  }

  all(kind: ResourceKind): Iterable<StoredResource> {
    return this.#resources[kind].values();
  }

  /** The workloads behind a service. */
  endpoints(service: string): Iterable<StoredResource> {
    return this.#endpoints.get(service) ?? [];
  }

  /**
   * What somebody means who asks for a name: a uid, `namespace/hostname` or `network/address`. A service comes with its
   * endpoints, as without them it leads nowhere.
   */
  find(kinds: readonly ResourceKind[], key: string): Set<StoredResource> {
    const found = new Set<StoredResource>();
    const add = (resource: StoredResource) => {
      found.add(resource);
      if (resource.kind !== 'services' || !kinds.includes('workloads')) return;
      for (const endpoint of this.endpoints(resource.name)) found.add(endpoint);
    };
    for (const kind of kinds) {
      const named = this.#resources[kind].get(key);
      if (named !== undefined) add(named);
    }
    for (const resource of this.#byAlias.get(key) ?? []) if (kinds.includes(resource.kind)) add(resource);
    if (kinds.includes('services')) for (const resource of this.#rangesAround(key)) add(resource);
    return found;
  }

  /** One of `keys` that means this resource; undefined when none does. */
  meantBy(resource: StoredResource, keys: ReadonlySet<string>): string | undefined {
    if (keys.has(resource.name)) return resource.name;
    const alias = resource.aliases.find((each) => keys.has(each));
    if (alias !== undefined) return alias;
    if (resource.ranges.length > 0) {
      for (const key of keys) if (isWithin(resource, key)) return key;
    }
    for (const name of resource.services) {
      if (keys.has(name)) return name;
      const service = this.#resources.services.get(name);
      const key = service === undefined ? undefined : this.meantBy(service, keys);
      if (key !== undefined) return key;
    }
    return undefined;
  }

  #applyKind<T>(
    kind: ResourceKind,
    change: KindChange<T>,
    nameOf: (value: T) => string,
    encode: (value: T) => StoredResource,
    upserts: StoredResource[],
    removals: StoredResource[],
  ): void {
    const resources = this.#resources[kind];
    for (const name of change.removals) {
      this.#problems.delete(`${kind} ${name}`);
      const old = resources.get(name);
      if (old === undefined) continue;
      resources.delete(name);
      this.#unlink(old);
      removals.push(old);
    }
    for (const value of change.upserts) {
      const name = nameOf(value);
      const next = this.#encode(kind, name, value, encode);
      const old = resources.get(name);
      if (next === undefined || next.version === old?.version) continue;
      if (old !== undefined) this.#unlink(old);
      resources.set(name, next);
      this.#link(next);
      upserts.push(next);
    }
  }

  #encode<T>(
    kind: ResourceKind,
    name: string,
    value: T,
    encode: (value: T) => StoredResource,
  ): StoredResource | undefined {
    const key = `${kind} ${name}`;
    try {
      const encoded = encode(value);
      this.#problems.delete(key);
      return encoded;
    } catch (caught) {
      this.#problems.set(key, { kind, name, reason: HadalError.from(caught).message });
      return undefined;
    }
  }

  #countChange(): void {
    const { lineage, positions } = this.#generation;
    const count = positions.get(ownChanges);
    if (count !== undefined) this.advance({ lineage, positions: new Map([[ownChanges, count + 1n]]) });
  }

  #link(resource: StoredResource): void {
    for (const alias of resource.aliases) addTo(this.#byAlias, alias, resource);
    for (const service of resource.services) addTo(this.#endpoints, service, resource);
    if (resource.ranges.length > 0) this.#ranged.add(resource);
  }

  #unlink(resource: StoredResource): void {
    for (const alias of resource.aliases) deleteFrom(this.#byAlias, alias, resource);
    for (const service of resource.services) deleteFrom(this.#endpoints, service, resource);
    this.#ranged.delete(resource);
  }

  #rangesAround(key: string): StoredResource[] {
    return this.#ranged.size === 0 ? [] : [...this.#ranged].filter((resource) => isWithin(resource, key));
  }
}

/** Whether `network/address` lies in a range of the service. */
function isWithin({ ranges }: StoredResource, key: string): boolean {
  const slash = key.lastIndexOf('/');
  const address = slash < 0 ? undefined : parseAddress(key.slice(slash + 1));
  if (address === undefined) return false;
  return ranges.some(({ network, cidr }) => network === key.slice(0, slash) && cidrContains(cidr, address));
}

function addTo<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, new Set([value]));
  else known.add(value);
}

function deleteFrom<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const known = index.get(key);
  known?.delete(value);
  if (known?.size === 0) index.delete(key);
}
