/** The names that the lab's nameserver knows, as a cluster's DNS would. */
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import type { MeshResources } from '../model/snapshot.ts';
import type { Workload } from '../model/workload.ts';
import type { ServiceObject } from '../source/kubernetes/service.ts';
import { type MeshNames, serviceHostname } from '../source/translate/context.ts';

export interface KnownName {
  readonly addresses: readonly string[];
  /** Of an SRV record. */
  readonly ports: readonly { readonly target: string; readonly port: number }[];
  /** The name means only this other one. */
  readonly alias?: string;
}

export type NameTable = ReadonlyMap<string, KnownName>;

export interface NameTableOptions {
  readonly names: MeshNames;
  /** Services as written: their ports have names. */
  readonly services: readonly ServiceObject[];
  /**
   * Whether service addresses lead anywhere from the asker. They do in the mesh; outside it only where something plays
   * kube-proxy, so there the names mean the endpoints.
   */
  readonly serviceAddresses: boolean;
  readonly outside: readonly { readonly name: string; readonly addresses: readonly string[] }[];
}

export function nameTable(mesh: MeshResources, options: NameTableOptions): NameTable {
  const table = new Map<string, KnownName>();
  const add = (name: string, addresses: readonly string[]) => table.set(name, { addresses, ports: [] });
  const endpoints = endpointsByService(mesh.workloads);
  for (const service of mesh.services) {
    // A ServiceEntry is the mesh's alone: no cluster DNS knows its host.
    if (!service.canonical) continue;
    const behind = endpoints.get(serviceKey(service)) ?? [];
    const own = options.serviceAddresses ? service.addresses.map(({ address }) => address) : [];
    add(service.hostname, own.length > 0 ? own : behind.flatMap(({ addresses }) => addresses));
    if (service.addresses.length === 0)
      for (const { name, addresses } of behind) add(`${name}.${service.hostname}`, addresses);
  }
  for (const { name, namespace, addresses } of mesh.workloads) add(`${name}.${namespace}.pod`, addresses);
  for (const { name, addresses } of options.outside) add(name, addresses);
  for (const service of options.services) addPorts(table, mesh.services, endpoints, service, options.names);
  return table;
}

function addPorts(
  table: Map<string, KnownName>,
  services: readonly Service[],
  endpoints: ReadonlyMap<string, readonly Workload[]>,
  { metadata, spec }: ServiceObject,
  names: MeshNames,
): void {
  const hostname = serviceHostname(names, metadata.namespace, metadata.name);
  if (spec.type === 'ExternalName') {
    if (spec.externalName) table.set(hostname, { addresses: [], ports: [], alias: spec.externalName });
    return;
  }
  const model = services.find((each) => each.hostname === hostname);
  const headless = model?.addresses.length === 0;
  const targets = headless
    ? (endpoints.get(`${metadata.namespace}/${hostname}`) ?? []).map(({ name }) => `${name}.${hostname}`)
    : [hostname];
  for (const { name, port } of spec.ports)
    if (name)
      table.set(`_${name}._tcp.${hostname}`, {
        addresses: [],
        ports: targets.map((target) => ({ target, port })),
      });
}

function endpointsByService(workloads: readonly Workload[]): ReadonlyMap<string, readonly Workload[]> {
  const found = new Map<string, Workload[]>();
  for (const workload of workloads) {
    for (const { service } of workload.services) {
      const known = found.get(service);
      if (known === undefined) found.set(service, [workload]);
      else known.push(workload);
    }
  }
  return found;
}
