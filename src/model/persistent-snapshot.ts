import { parseAddress } from './address.ts';
import { type Authorization, policyKey } from './authorization.ts';
import { cidrContains } from './cidr.ts';
import { type KeyedEntry, ListEditor, NameLists } from './name-lists.ts';
import { NamedValues } from './named-values.ts';
import { type Service, serviceKey } from './service.ts';
import {
  type CidrService,
  type Endpoint,
  type MeshSnapshot,
  networkAddressKey,
  rangeOf,
} from './snapshot.ts';
import type { Workload } from './workload.ts';

/** A version of a resource and the one after it; undefined where there is none. */
export interface Step<T> {
  readonly name: string;
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** What becomes of a snapshot; see `updateSnapshot`. */
export interface SnapshotSteps {
  readonly workloads: readonly Step<Workload>[];
  readonly services: readonly Step<Service>[];
  readonly policies: readonly Step<Authorization>[];
  /** Names of policies that are gone from now on, and those that are not any more. */
  readonly gone: readonly string[];
  readonly back: readonly string[];
}

interface Parts {
  readonly workloads: NamedValues<Workload>;
  readonly services: NamedValues<Service>;
  readonly policies: NamedValues<Authorization>;
  readonly byAddress: NameLists<Workload>;
  readonly endpoints: NameLists<Endpoint>;
  readonly byHostname: NameLists<Service>;
  readonly byVirtualAddress: NameLists<Service>;
  readonly ranges: NameLists<CidrService>;
  /** Under the scope's own name and the namespace. */
  readonly byScope: NameLists<Authorization>;
  /** How many workloads give a policy's name. */
  readonly policyUses: NamedValues<number>;
  readonly gonePolicies: ReadonlySet<string>;
}

const none: readonly never[] = Object.freeze([]);
const globalScope = 'GLOBAL';

/** A snapshot of which the next one is made by the changes alone, and which shares with it all that stays. */
export class PersistentSnapshot implements MeshSnapshot {
  static readonly empty: PersistentSnapshot = new PersistentSnapshot({
    workloads: NamedValues.empty(),
    services: NamedValues.empty(),
    policies: NamedValues.empty(),
    byAddress: NameLists.empty(({ uid }) => uid),
    endpoints: NameLists.empty(({ workload }) => workload.uid),
    byHostname: NameLists.empty<Service>(serviceKey),
    byVirtualAddress: NameLists.empty<Service>(serviceKey),
    ranges: NameLists.empty(({ service }) => serviceKey(service)),
    byScope: NameLists.empty<Authorization>(policyKey),
    policyUses: NamedValues.empty(),
    gonePolicies: new Set(),
  });

  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#parts = parts;
    Object.freeze(this);
  }

  static isOne(snapshot: MeshSnapshot): snapshot is PersistentSnapshot {
    return snapshot instanceof PersistentSnapshot;
  }

  get workloads(): NamedValues<Workload> {
    return this.#parts.workloads;
  }

  get services(): NamedValues<Service> {
    return this.#parts.services;
  }

  get policies(): NamedValues<Authorization> {
    return this.#parts.policies;
  }

  get globalPolicies(): readonly Authorization[] {
    return this.#parts.byScope.get(globalScope);
  }

  get gonePolicies(): ReadonlySet<string> {
    return this.#parts.gonePolicies;
  }

  after(steps: SnapshotSteps): PersistentSnapshot {
    const parts = this.#parts;
    const policyUses = parts.policyUses.with(countUses(parts.policyUses, steps.workloads));
    return new PersistentSnapshot({
      workloads: parts.workloads.with(valuesOf(steps.workloads)),
      services: parts.services.with(valuesOf(steps.services)),
      policies: parts.policies.with(valuesOf(steps.policies)),
      byAddress: indexed(parts.byAddress, steps.workloads, addressEntries),
      endpoints: indexed(parts.endpoints, steps.workloads, endpointEntries),
      byHostname: indexed(parts.byHostname, steps.services, hostnameEntries),
      byVirtualAddress: indexed(parts.byVirtualAddress, steps.services, virtualAddressEntries),
      ranges: indexed(parts.ranges, steps.services, rangeEntries),
      byScope: indexed(parts.byScope, steps.policies, scopeEntries),
      policyUses,
      gonePolicies: goneAfter(parts.gonePolicies, policyUses, steps),
    });
  }

  workloadsAt(network: string, address: string): readonly Workload[] {
    return this.#parts.byAddress.get(networkAddressKey(network, address));
  }

  servicesNamed(hostname: string): readonly Service[] {
    return this.#parts.byHostname.get(hostname);
  }

  servicesAt(network: string, address: string): readonly Service[] {
    return this.#parts.byVirtualAddress.get(networkAddressKey(network, address));
  }

  servicesAround(network: string, address: string): readonly CidrService[] {
    const ranges = this.#parts.ranges.get(network);
    const parsed = ranges.length === 0 ? undefined : parseAddress(address);
    return parsed === undefined ? none : ranges.filter(({ cidr }) => cidrContains(cidr, parsed));
  }

  endpointsOf(service: string): readonly Endpoint[] {
    const known = this.#parts.services.get(service);
    if (known === undefined) return none;
    const endpoints = this.#parts.endpoints.get(service);
    return known.loadBalancing.healthPolicy === 'ALLOW_ALL' ? endpoints : healthyOf(endpoints);
  }

  allEndpointsOf(service: string): readonly Endpoint[] {
    return this.#parts.endpoints.get(service);
  }

  policiesIn(namespace: string): readonly Authorization[] {
    return this.#parts.byScope.get(`NAMESPACE ${namespace}`);
  }
}

/** A list of endpoints never changes, so the healthy ones among them are looked for once, when somebody asks. */
const healthy = new WeakMap<readonly Endpoint[], readonly Endpoint[]>();

function healthyOf(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  let found = healthy.get(endpoints);
  if (found === undefined) {
    found = endpoints.filter(({ workload }) => workload.status === 'HEALTHY');
    healthy.set(endpoints, found);
  }
  return found;
}

function* valuesOf<T>(steps: readonly Step<T>[]): Generator<[string, T | undefined]> {
  for (const { name, after } of steps) yield [name, after];
}

type EntriesOf<T, E> = (resource: T) => Iterable<KeyedEntry<E>>;

function indexed<T, E>(
  index: NameLists<E>,
  steps: readonly Step<T>[],
  entriesOf: EntriesOf<T, E>,
): NameLists<E> {
  const editor = new ListEditor<E>();
  for (const { name, before, after } of steps) {
    editor.replace(
      name,
      before === undefined ? none : entriesOf(before),
      after === undefined ? none : entriesOf(after),
    );
  }
  return index.with(editor.edits);
}

/** A pod in the host's network shares its address with the host and with others: the address does not name it. */
function* addressEntries(workload: Workload): Generator<KeyedEntry<Workload>> {
  if (workload.networkMode === 'HOST_NETWORK') return;
  for (const address of workload.addresses) yield [networkAddressKey(workload.network, address), workload];
}

/** Also of services that nobody knows yet: they may come later. */
function* endpointEntries(workload: Workload): Generator<KeyedEntry<Endpoint>> {
  for (const { service, ports } of workload.services) yield [service, Object.freeze({ workload, ports })];
}

function* hostnameEntries(service: Service): Generator<KeyedEntry<Service>> {
  yield [service.hostname, service];
}

function* virtualAddressEntries(service: Service): Generator<KeyedEntry<Service>> {
  for (const { network, address, length } of service.addresses) {
    if (length === undefined || rangeOf(address, length) === undefined)
      yield [networkAddressKey(network, address), service];
  }
}

function* rangeEntries(service: Service): Generator<KeyedEntry<CidrService>> {
  for (const { network, address, length } of service.addresses) {
    const cidr = length === undefined ? undefined : rangeOf(address, length);
    if (cidr !== undefined) yield [network, Object.freeze({ cidr, service })];
  }
}

function* scopeEntries(policy: Authorization): Generator<KeyedEntry<Authorization>> {
  if (policy.scope === 'GLOBAL') yield [globalScope, policy];
  if (policy.scope === 'NAMESPACE') yield [`NAMESPACE ${policy.namespace}`, policy];
}

function countUses(
  uses: NamedValues<number>,
  steps: readonly Step<Workload>[],
): Map<string, number | undefined> {
  const counts = new Map<string, number>();
  const count = (workload: Workload | undefined, by: number) => {
    for (const name of workload?.authorizationPolicies ?? none)
      counts.set(name, (counts.get(name) ?? uses.get(name) ?? 0) + by);
  };
  for (const { before, after } of steps) {
    count(before, -1);
    count(after, 1);
  }
  return new Map(Array.from(counts, ([name, uses]) => [name, uses === 0 ? undefined : uses]));
}

/** A name that no workload gives any more is forgotten: should one give it later, it is one that was never seen. */
function goneAfter(
  gone: ReadonlySet<string>,
  uses: NamedValues<number>,
  steps: SnapshotSteps,
): ReadonlySet<string> {
  const next = new Set(gone);
  for (const name of steps.gone) if (uses.has(name)) next.add(name);
  for (const name of steps.back) next.delete(name);
  if (next.size > 0) {
    const touched = steps.workloads.flatMap(({ before }) => before?.authorizationPolicies ?? none);
    for (const name of touched) if (!uses.has(name)) next.delete(name);
  }
  return next.size === gone.size && [...next].every((name) => gone.has(name)) ? gone : next;
}
