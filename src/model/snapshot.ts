import { type IpAddress, parseAddress } from './address.ts';
import type { Authorization } from './authorization.ts';
import { policyKey } from './authorization.ts';
import { type Cidr, cidrContains, createCidr } from './cidr.ts';
import type { Service } from './service.ts';
import { serviceKey } from './service.ts';
import type { Port, Workload } from './workload.ts';

/** Everything that a mesh state says; the names of each kind are unique. */
export interface MeshResources {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Authorization[];
}

/** A workload as the endpoint of a service. */
export interface Endpoint {
  readonly workload: Workload;
  /** Ports on which this endpoint serves; service ports that are missing take the service's target port. */
  readonly ports: readonly Port[];
}

/** A service that owns a range of addresses. */
export interface CidrService {
  readonly cidr: Cidr;
  readonly service: Service;
}

/** The whole mesh at one moment: immutable, indexed for the questions that judgements ask. */
export interface MeshSnapshot {
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly services: ReadonlyMap<string, Service>;
  readonly policies: ReadonlyMap<string, Authorization>;
  /** Enforced for every workload. */
  readonly globalPolicies: readonly Authorization[];
  /** Workloads that own the address, without those in the host's network. */
  workloadsAt(network: string, address: string): readonly Workload[];
  servicesNamed(hostname: string): readonly Service[];
  /** Services whose virtual address this is. */
  servicesAt(network: string, address: string): readonly Service[];
  /** Services with a range that holds the address, in no special order. */
  servicesAround(network: string, address: string): readonly CidrService[];
  /** Endpoints that may be used: healthy ones, or all if the service's health policy says so. */
  endpointsOf(service: string): readonly Endpoint[];
  /** Endpoints whatever their health. */
  allEndpointsOf(service: string): readonly Endpoint[];
  /** Policies of scope NAMESPACE. */
  policiesIn(namespace: string): readonly Authorization[];
  /**
   * Names that workloads still give, though whoever is asked has said that there is no such policy any more. Any other name
   * without a policy is one that was never seen.
   */
  readonly gonePolicies: ReadonlySet<string>;
}

const none: readonly never[] = Object.freeze([]);

/** Key under which something at an address is indexed; also its dependency key's tail. */
export function networkAddressKey(network: string, address: string): string {
  return `${network}/${address}`;
}

/**
 * Builds the indexes, in the order of names: a mesh means the same whatever the order in which its resources came. When a
 * name occurs twice the last one counts: callers that can say where it came from reject earlier.
 */
export function createSnapshot(
  resources: MeshResources,
  gonePolicies: ReadonlySet<string> = new Set(),
): MeshSnapshot {
  const workloads = byName(resources.workloads, ({ uid }) => uid);
  const services = byName(resources.services, serviceKey);
  const policies = byName(resources.policies, policyKey);
  return new IndexedSnapshot(workloads, services, policies, gonePolicies);
}

function byName<T>(resources: readonly T[], nameOf: (resource: T) => string): ReadonlyMap<string, T> {
  const named = new Map(resources.map((resource) => [nameOf(resource), resource]));
  return new Map([...named].sort(([left], [right]) => (left < right ? -1 : 1)));
}

class IndexedSnapshot implements MeshSnapshot {
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly services: ReadonlyMap<string, Service>;
  readonly policies: ReadonlyMap<string, Authorization>;
  readonly globalPolicies: readonly Authorization[];
  readonly gonePolicies: ReadonlySet<string>;
  readonly #byAddress = new Map<string, Workload[]>();
  readonly #byHostname = new Map<string, Service[]>();
  readonly #byVirtualAddress = new Map<string, Service[]>();
  readonly #ranges = new Map<string, CidrService[]>();
  readonly #endpoints = new Map<string, Endpoint[]>();
  readonly #usableEndpoints = new Map<string, readonly Endpoint[]>();
  readonly #byNamespace = new Map<string, Authorization[]>();

  constructor(
    workloads: ReadonlyMap<string, Workload>,
    services: ReadonlyMap<string, Service>,
    policies: ReadonlyMap<string, Authorization>,
    gonePolicies: ReadonlySet<string>,
  ) {
    this.workloads = workloads;
    this.services = services;
    this.policies = policies;
    this.gonePolicies = gonePolicies;
    for (const workload of workloads.values()) {
      this.#indexWorkload(workload);
    }
    for (const service of services.values()) {
      this.#indexService(service);
    }
    for (const policy of policies.values()) {
      if (policy.scope === 'NAMESPACE') {
        append(this.#byNamespace, policy.namespace, policy);
      }
    }
    this.globalPolicies = Object.freeze([...policies.values()].filter((policy) => policy.scope === 'GLOBAL'));
    Object.freeze(this);
  }

  #indexWorkload(workload: Workload): void {
    // A pod in the host's network shares its address with the host and with others: the address does not name it.
    if (workload.networkMode !== 'HOST_NETWORK') {
      for (const address of workload.addresses) {
        append(this.#byAddress, networkAddressKey(workload.network, address), workload);
      }
    }
    for (const { service, ports } of workload.services) {
      append(this.#endpoints, service, Object.freeze({ workload, ports }));
    }
  }

  #indexService(service: Service): void {
    append(this.#byHostname, service.hostname, service);
    for (const { network, address, length } of service.addresses) {
      const cidr = length === undefined ? undefined : rangeOf(address, length);
      if (cidr === undefined) {
        append(this.#byVirtualAddress, networkAddressKey(network, address), service);
      } else {
        append(this.#ranges, network, Object.freeze({ cidr, service }));
      }
    }
    const key = serviceKey(service);
    const endpoints = this.#endpoints.get(key) ?? none;
    const usable =
      service.loadBalancing.healthPolicy === 'ALLOW_ALL'
        ? endpoints
        : endpoints.filter(({ workload }) => workload.status === 'HEALTHY');
    this.#usableEndpoints.set(key, usable);
  }

  workloadsAt(network: string, address: string): readonly Workload[] {
    return this.#byAddress.get(networkAddressKey(network, address)) ?? none;
  }

  servicesNamed(hostname: string): readonly Service[] {
    return this.#byHostname.get(hostname) ?? none;
  }

  servicesAt(network: string, address: string): readonly Service[] {
    return this.#byVirtualAddress.get(networkAddressKey(network, address)) ?? none;
  }

  servicesAround(network: string, address: string): readonly CidrService[] {
    const ranges = this.#ranges.get(network);
    const parsed = ranges === undefined ? undefined : parseAddress(address);
    return ranges === undefined || parsed === undefined
      ? none
      : ranges.filter(({ cidr }) => cidrContains(cidr, parsed));
  }

  endpointsOf(service: string): readonly Endpoint[] {
    return this.#usableEndpoints.get(service) ?? none;
  }

  allEndpointsOf(service: string): readonly Endpoint[] {
    return this.#endpoints.get(service) ?? none;
  }

  policiesIn(namespace: string): readonly Authorization[] {
    return this.#byNamespace.get(namespace) ?? none;
  }
}

/** A range; undefined for one that holds a single address, which the exact index finds faster and prefers. */
export function rangeOf(text: string, length: number): Cidr | undefined {
  const address: IpAddress | undefined = parseAddress(text);
  if (address === undefined || length >= (address.family === 4 ? 32 : 128)) {
    return undefined;
  }
  return createCidr(address, length);
}

function append<T>(index: Map<string, T[]>, key: string, value: T): void {
  const known = index.get(key);
  if (known === undefined) {
    index.set(key, [value]);
  } else {
    known.push(value);
  }
}

// Below the class: it is made when this module loads.
export const emptySnapshot: MeshSnapshot = createSnapshot({ workloads: [], services: [], policies: [] });
