import { parseAddress } from '../../model/address.ts';
import { parseCidr } from '../../model/cidr.ts';
import { createService, type Service } from '../../model/service.ts';
import { createWorkload, type Workload } from '../../model/workload.ts';
import type { ServiceEntryObject } from '../kubernetes/service-entry.ts';
import type { WorkloadEntrySpec } from '../kubernetes/workload-entry.ts';
import { isCanonicalHost } from './canonical-host.ts';
import { labels } from './label-names.ts';
import { loadBalancing } from './load-balancing.ts';
import { serviceEntryMemberships } from './memberships.ts';
import { virtualNetworks } from './place.ts';
import { type TranslatedResources, type TranslationWarning, translated, warning } from './resources.ts';
import { serviceEntryPorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';
import { virtualAddressesOf, wantsVirtualAddress } from './virtual-addresses.ts';
import { visibilityOf } from './visibility.ts';
import { bindWaypoint } from './waypoint.ts';
import { machineAddress, machineFields } from './workload-entry.ts';

/** A service for each host; a workload for each endpoint that stands in it, and for a host that is to be resolved. */
export function translateServiceEntry(entry: ServiceEntryObject, view: ClusterView): TranslatedResources {
  const warnings: TranslationWarning[] = [];
  const services = servicesOf(entry, view, warnings);
  const workloads = endpointsOf(entry, view, warnings);
  return translated({ services, workloads, warnings });
}

function servicesOf(entry: ServiceEntryObject, view: ClusterView, warnings: TranslationWarning[]): Service[] {
  const { metadata, spec } = entry;
  const { name, namespace } = metadata;
  const binding = bindWaypoint(view, { object: entry, traffic: 'service', ...metadata });
  warnings.push(...binding.warnings);
  const isPassthrough = spec.resolution === 'NONE';
  if (spec.resolution === 'DYNAMIC_DNS') warnings.push(...dynamicDnsWarnings(entry, binding.named !== ''));
  const shared = {
    name,
    namespace,
    ports: serviceEntryPorts(entry),
    subjectAltNames: spec.subjectAltNames,
    waypoint: binding.waypoint,
    weightedWaypoints: binding.weighted,
    ingressUseWaypoint: binding.ingress,
    loadBalancing: loadBalancing(
      {
        object: entry,
        annotations: [metadata.annotations, view.get('Namespace', '', namespace)?.metadata.annotations],
        passthrough: isPassthrough,
        allowUnhealthy: isPassthrough,
      },
      warnings,
    ),
    visibility: visibilityOf(spec.exportTo, { object: entry, namespace, field: 'spec.exportTo' }, warnings),
  };
  return [...new Set(spec.hosts)].map((hostname) =>
    createService({
      ...shared,
      hostname,
      addresses: addressesOf(entry, view, hostname, warnings),
      canonical: isCanonicalHost(view, entry, hostname),
    }),
  );
}

/** Its hosts have an address, and no endpoints: whoever connects is refused where no waypoint takes the connection. */
function dynamicDnsWarnings(entry: ServiceEntryObject, hasWaypoint: boolean): TranslationWarning[] {
  if (!hasWaypoint) {
    const reason = `is DYNAMIC_DNS, which only a waypoint resolves: name one by ${labels.useWaypoint}; until then connections are refused`;
    return [warning(entry, 'spec.resolution', reason)];
  }
  if (entry.spec.location === 'MESH_EXTERNAL') return [];
  return [
    warning(entry, 'spec.location', 'must be MESH_EXTERNAL for a waypoint to resolve hosts by DYNAMIC_DNS'),
  ];
}

function addressesOf(
  entry: ServiceEntryObject,
  view: ClusterView,
  host: string,
  warnings: TranslationWarning[],
): Service['addresses'] {
  const texts = wantsVirtualAddress(entry, host)
    ? virtualAddressesOf(view, entry, host)
    : entry.spec.addresses;
  if (texts === undefined) {
    const reason = `has no place left among the virtual addresses; write spec.addresses for ${host}`;
    warnings.push(warning(entry, 'spec.hosts', reason));
  }
  const networks = virtualNetworks(view, entry.metadata.namespace);
  const parsed = (texts ?? []).flatMap((text, index) => {
    const address = parseRange(text);
    if (address !== undefined) return [address];
    warnings.push(
      warning(entry, `spec.addresses[${index}]`, `is "${text}", no address and no range; it is left out`),
    );
    return [];
  });
  const unique = [...new Map(parsed.map((each) => [`${each.address}/${each.length}`, each])).values()];
  return networks.flatMap((network) => unique.map((each) => Object.freeze({ network, ...each })));
}

/** An address, or a range of them. */
function parseRange(text: string): { address: string; length: number | undefined } | undefined {
  if (!text.includes('/')) {
    const address = parseAddress(text);
    return address && { address: address.text, length: undefined };
  }
  const range = parseCidr(text);
  return range && { address: range.base.text, length: range.length };
}

function endpointsOf(
  entry: ServiceEntryObject,
  view: ClusterView,
  warnings: TranslationWarning[],
): Workload[] {
  const { spec } = entry;
  const mustResolve = spec.resolution === 'DNS' || spec.resolution === 'DNS_ROUND_ROBIN';
  if (spec.endpoints.length > 0) {
    const made = spec.endpoints.map((endpoint, index) =>
      endpointWorkload(
        entry,
        view,
        { endpoint, hosts: spec.hosts, field: `spec.endpoints[${index}].address` },
        warnings,
      ),
    );
    return oncePerUid(entry, made, warnings);
  }
  if (!mustResolve || spec.workloadSelector !== undefined) return [];
  const made = [...new Set(spec.hosts)].map((host) => {
    const field = `spec.hosts[${spec.hosts.indexOf(host)}]`;
    return endpointWorkload(entry, view, { endpoint: implied(host), hosts: [host], field }, warnings);
  });
  return oncePerUid(entry, made, warnings);
}

const implied = (address: string): WorkloadEntrySpec => ({
  address,
  ports: {},
  labels: {},
  network: '',
  locality: '',
  weight: 0,
  serviceAccount: '',
});

function endpointWorkload(
  entry: ServiceEntryObject,
  view: ClusterView,
  known: { readonly endpoint: WorkloadEntrySpec; readonly hosts: readonly string[]; readonly field: string },
  warnings: TranslationWarning[],
): Workload | undefined {
  const { endpoint, hosts, field } = known;
  const { name, namespace, annotations } = entry.metadata;
  const where = machineAddress(endpoint.address, { object: entry, field }, warnings);
  if (where === undefined) return undefined;
  const own = { ...entry.metadata.labels, ...endpoint.labels };
  // The entry's own label is for its services; the endpoint's is for connections to its address.
  const binding = bindWaypoint(view, {
    object: entry,
    traffic: 'workload',
    namespace,
    labels: endpoint.labels,
    annotations,
  });
  warnings.push(...binding.warnings);
  const address = 'addresses' in where ? (where.addresses?.[0] ?? '') : endpoint.address.toLowerCase();
  return createWorkload({
    ...machineFields(view, { namespace, name, spec: endpoint, labels: own }),
    ...where,
    uid: `${view.names.clusterId}/networking.istio.io/ServiceEntry/${namespace}/${name}/${address}`,
    waypoint: binding.waypoint,
    services: serviceEntryMemberships(entry, endpoint.ports, hosts),
  });
}

function oncePerUid(
  entry: ServiceEntryObject,
  made: readonly (Workload | undefined)[],
  warnings: TranslationWarning[],
): Workload[] {
  const first = new Map<string, Workload>();
  for (const workload of made) {
    if (workload === undefined) continue;
    if (!first.has(workload.uid)) first.set(workload.uid, workload);
    else
      warnings.push(
        warning(entry, 'spec.endpoints', `names ${workload.uid.split('/').at(-1)} twice; the first counts`),
      );
  }
  return [...first.values()];
}
