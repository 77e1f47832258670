/**
 * What one stream wants of one type, and what it has still to be told. Only names are kept until there is room on the wire: what
 * changes ten times meanwhile is sent once, as it is then.
 */
import type { ResourceStore, StoreChange } from './resource-store.ts';
import type { ResourceKind, StoredResource } from './stored-resource.ts';
import { addressType, authorizationType, workloadType } from './type-urls.ts';

/** In the order in which they are sent: endpoints come after the services that they name. */
export const servedTypes: ReadonlyMap<string, readonly ResourceKind[]> = new Map([
  [authorizationType, ['policies']],
  [addressType, ['services', 'workloads']],
  [workloadType, ['workloads']],
]);

export interface SubscriptionRequest {
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: ReadonlyMap<string, string>;
}

/** What goes into one response. */
export interface Batch {
  readonly upserts: readonly StoredResource[];
  /** Names that are gone, names that were asked for and mean nothing, and those that were refused. */
  readonly removed: readonly string[];
  /** Names that were asked for beyond what one stream may. */
  readonly refused: readonly string[];
  /** There is nothing more to say of the type now; what is gone may have to wait for other types, and belongs to no push. */
  readonly isLast: boolean;
}

/** Under which a resource is followed that the agent had from before: until it is gone, or unsubscribed by its own name. */
const fromBefore = '';

export class ServerSubscription {
  readonly typeUrl: string;
  readonly #kinds: readonly ResourceKind[];
  readonly #store: ResourceStore;
  readonly #mostKeys: number;
  #isWildcard = false;
  #isOpen = false;
  /** Names that were asked for. */
  readonly #keys = new Set<string>();
  /** Without wildcard: names of the resources that were sent, or that the agent has from before, with the key that brought them. */
  readonly #watched = new Map<string, string>();
  /** The same by key: what goes with it when it is unsubscribed. */
  readonly #brought = new Map<string, Set<string>>();
  readonly #upserts: Record<ResourceKind, Set<string>> = {
    policies: new Set(),
    services: new Set(),
    workloads: new Set(),
  };
  readonly #removals = new Set<string>();
  /** Of the removals those that are errors. */
  readonly #refused = new Set<string>();
  /** The agent waits for a response, even one that says nothing. */
  #owesAnswer = false;

  constructor(typeUrl: string, kinds: readonly ResourceKind[], store: ResourceStore, mostKeys: number) {
    this.#mostKeys = mostKeys;
    this.typeUrl = typeUrl;
    this.#kinds = kinds;
    this.#store = store;
  }

  get isWildcard(): boolean {
    return this.#isWildcard;
  }
  get keyCount(): number {
    return this.#keys.size;
  }
  /** Resources that it is told of by name. */
  get followedCount(): number {
    return this.#watched.size;
  }
  /** Resources to be told of. */
  get pending(): number {
    return this.#removals.size + this.#kinds.reduce((sum, kind) => sum + this.#upserts[kind].size, 0);
  }

  /** The names of a request. The first one of a stream states what the agent has; without names it wants everything. */
  request(request: SubscriptionRequest): void {
    const { resourceNamesSubscribe: more, resourceNamesUnsubscribe: fewer } = request;
    const isFirst = !this.#isOpen;
    this.#isOpen = true;
    const wantedAll = this.#isWildcard;
    if (more.includes('*') || (isFirst && more.length === 0)) this.#isWildcard = true;
    if (fewer.includes('*')) this.#isWildcard = false;
    if (this.#isWildcard && !wantedAll)
      this.#everything(isFirst ? request.initialResourceVersions : undefined);
    else if (isFirst) this.#resume(request.initialResourceVersions);
    if (wantedAll && !this.#isWildcard) this.#narrow();
    const known = isFirst ? request.initialResourceVersions : undefined;
    // First: what is given back makes room.
    const given = new Set(fewer);
    for (const key of given) if (key !== '*') this.#unsubscribe(key);
    for (const key of more) if (key !== '*' && key !== '' && !given.has(key)) this.#subscribe(key, known);
  }

  /** Notes what of a change has to be told. */
  onChange({ upserts, removals }: StoreChange): void {
    for (const { kind, name } of removals) {
      if (!this.#kinds.includes(kind) || !(this.#isWildcard || this.#watched.has(name))) continue;
      this.#remove(kind, name);
    }
    for (const resource of upserts) {
      if (!this.#kinds.includes(resource.kind)) continue;
      const key = this.#isWildcard ? fromBefore : this.#keyOf(resource);
      if (key !== undefined) this.#tell(resource, key);
    }
  }

  /** What fits into a response; undefined when there is nothing to say. `only`: what is gone has to wait. */
  take(maxBytes: number, only?: 'upserts'): Batch | undefined {
    const removed: string[] = [];
    const refused: string[] = [];
    let bytes = 0;
    // First of all: the address of a pod that is gone may belong to a new one.
    for (const name of only === 'upserts' ? [] : this.#removals) {
      if (bytes > maxBytes) break;
      this.#removals.delete(name);
      removed.push(name);
      if (this.#refused.delete(name)) refused.push(name);
      bytes += 3 * name.length;
    }
    const upserts = this.#takeUpserts(maxBytes - bytes);
    if (upserts.length === 0 && removed.length === 0 && !this.#owesAnswer) return undefined;
    this.#owesAnswer = false;
    const isLast = this.pending === (only === 'upserts' ? this.#removals.size : 0);
    return { upserts, removed, refused, isLast };
  }

  #takeUpserts(maxBytes: number): StoredResource[] {
    const taken: StoredResource[] = [];
    let bytes = 0;
    for (const kind of this.#kinds) {
      for (const name of this.#upserts[kind]) {
        const resource = this.#store.get(kind, name);
        const length = resource?.entry(this.typeUrl).length ?? 0;
        if (bytes > 0 && bytes + length > maxBytes) return taken;
        this.#upserts[kind].delete(name);
        if (resource === undefined) continue;
        taken.push(resource);
        bytes += length;
      }
    }
    return taken;
  }

  #everything(versions: ReadonlyMap<string, string> = new Map()): void {
    this.#watched.clear();
    this.#brought.clear();
    this.#owesAnswer = true;
    for (const kind of this.#kinds) {
      for (const resource of this.#store.all(kind)) {
        if (versions.get(resource.name) !== resource.version) this.#upserts[kind].add(resource.name);
      }
    }
    this.#tellGone(versions.keys());
  }

  /** Asked by name: what the agent has already is watched as if it had been sent. */
  #resume(versions: ReadonlyMap<string, string>): void {
    for (const [name, version] of versions) {
      const resource = this.#named(name);
      if (resource === undefined) continue;
      this.#watch(name, fromBefore);
      if (resource.version !== version) this.#upserts[resource.kind].add(name);
    }
    this.#tellGone(versions.keys());
  }

  #tellGone(names: Iterable<string>): void {
    for (const name of names) if (this.#named(name) === undefined) this.#removals.add(name);
  }

  /** No longer everything: what the agent has it goes on hearing of. */
  #narrow(): void {
    for (const kind of this.#kinds) {
      for (const { name } of this.#store.all(kind)) this.#watch(name, fromBefore);
    }
  }

  /** Answered in any case, also if it was sent before: who asks does not know. Only what a resuming agent has it knows. */
  #subscribe(key: string, known: ReadonlyMap<string, string> | undefined): void {
    const found = this.#store.find(this.#kinds, key);
    if (!this.#keys.has(key) && this.#keys.size >= this.#mostKeys) {
      this.#refuse(key, found, known);
      return;
    }
    this.#keys.add(key);
    this.#refused.delete(key);
    if (found.size === 0) this.#removals.add(key);
    for (const resource of found) {
      // From now on it goes with this key.
      if (this.#watched.get(resource.name) === fromBefore) this.#watch(resource.name, key);
      if (known?.get(resource.name) !== resource.version) this.#tell(resource, key);
    }
  }

  /** Nothing is kept of it. What the agent is told of anyway it is told again; of anything else it hears why not. */
  #refuse(
    key: string,
    found: Iterable<StoredResource>,
    known: ReadonlyMap<string, string> | undefined,
  ): void {
    let isFollowed = false;
    for (const resource of found) {
      if (!this.#watched.has(resource.name)) continue;
      isFollowed = true;
      if (known?.get(resource.name) !== resource.version) this.#note(resource, fromBefore);
    }
    if (isFollowed) return;
    this.#removals.add(key);
    this.#refused.add(key);
  }

  /** Forgets the name, and all that came by it and by no other. */
  #unsubscribe(key: string): void {
    this.#keys.delete(key);
    this.#refused.delete(key);
    // A name of which it was told that there is nothing.
    if (this.#named(key) === undefined) this.#removals.delete(key);
    if (this.#isWildcard) return;
    // Its own name too, under which it may have had it from before.
    for (const name of new Set([...(this.#brought.get(key) ?? []), key])) {
      const by = this.#watched.get(name);
      if (by === undefined || (by !== key && by !== fromBefore)) continue;
      const resource = this.#named(name);
      const other = resource === undefined ? undefined : this.#store.meantBy(resource, this.#keys);
      if (other !== undefined) {
        this.#watch(name, other);
        continue;
      }
      this.#unwatch(name);
      if (resource !== undefined) this.#upserts[resource.kind].delete(name);
    }
  }

  /** The key by which it is followed, or would be; undefined when it is none of this agent's business. */
  #keyOf(resource: StoredResource): string | undefined {
    return this.#watched.get(resource.name) ?? this.#store.meantBy(resource, this.#keys);
  }

  #tell(resource: StoredResource, key: string): void {
    this.#note(resource, key);
    if (this.#isWildcard || resource.kind !== 'services' || !this.#kinds.includes('workloads')) return;
    // A service that is new here comes with the endpoints that were there before it.
    for (const endpoint of this.#store.endpoints(resource.name)) {
      if (!this.#watched.has(endpoint.name)) this.#note(endpoint, key);
    }
  }

  #note({ kind, name, aliases }: StoredResource, key: string): void {
    this.#upserts[kind].add(name);
    this.#removals.delete(name);
    for (const alias of aliases) if (!this.#refused.has(alias)) this.#removals.delete(alias);
    if (!this.#isWildcard && !this.#watched.has(name)) this.#watch(name, key);
  }

  #remove(kind: ResourceKind, name: string): void {
    this.#upserts[kind].delete(name);
    this.#removals.add(name);
    this.#unwatch(name);
  }

  /** Under one key at a time. */
  #watch(name: string, key: string): void {
    this.#unwatch(name);
    this.#watched.set(name, key);
    const brought = this.#brought.get(key);
    if (brought === undefined) this.#brought.set(key, new Set([name]));
    else brought.add(name);
  }

  #unwatch(name: string): void {
    const key = this.#watched.get(name);
    if (key === undefined) return;
    this.#watched.delete(name);
    const brought = this.#brought.get(key);
    brought?.delete(name);
    if (brought?.size === 0) this.#brought.delete(key);
  }

  #named(name: string): StoredResource | undefined {
    for (const kind of this.#kinds) {
      const resource = this.#store.get(kind, name);
      if (resource !== undefined) return resource;
    }
    return undefined;
  }
}
