import type { Authorization, Match, StringMatch } from '../model/authorization.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import type { Service } from '../model/service.ts';
import { serviceKey } from '../model/service.ts';
import { type MeshSnapshot, networkAddressKey } from '../model/snapshot.ts';
import type { Port, Workload } from '../model/workload.ts';

/** The mesh in the names that `istioctl ztunnel-config` reads; what it does not know is left out by it. */
export function dumpWorkloads(snapshot: MeshSnapshot): unknown[] {
  return [...snapshot.workloads.values()].map(dumpWorkload);
}

export function dumpServices(snapshot: MeshSnapshot): unknown[] {
  return [...snapshot.services.values()].map((service) => dumpService(snapshot, service));
}

export function dumpPolicies(snapshot: MeshSnapshot): unknown[] {
  return [...snapshot.policies.values()].map(dumpPolicy);
}

function dumpWorkload(workload: Workload): unknown {
  const { uid, name, namespace, serviceAccount, trustDomain, network, node, hostname, capacity, clusterId } =
    workload;
  return {
    uid,
    workloadIps: workload.addresses,
    waypoint: dumpGateway(workload.waypoint),
    networkGateway: dumpGateway(workload.networkGateway),
    protocol: workload.tunnelProtocol === 'HBONE' ? 'HBONE' : 'TCP',
    name,
    namespace,
    serviceAccount,
    workloadName: workload.workloadName,
    workloadType: workload.workloadType.toLowerCase(),
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId,
    trustDomain,
    locality: workload.locality,
    node,
    network,
    status: workload.status === 'HEALTHY' ? 'Healthy' : 'Unhealthy',
    hostname,
    capacity,
    applicationTunnel: workload.applicationTunnel,
    services: workload.services.map(({ service }) => service),
    authorizationPolicies: workload.authorizationPolicies,
  };
}

function dumpService(snapshot: MeshSnapshot, service: Service): unknown {
  const key = serviceKey(service);
  const { mode, routingPreference: routingPreferences, healthPolicy } = service.loadBalancing;
  const exact = service.addresses.filter(({ length }) => length === undefined);
  const ranges = service.addresses.filter(({ length }) => length !== undefined);
  const endpoints = snapshot.allEndpointsOf(key).map(({ workload, ports }) => [
    workload.uid,
    {
      workloadUid: workload.uid,
      service: key,
      address: networkAddressKey(workload.network, workload.addresses[0] ?? ''),
      port: dumpPorts(ports),
    },
  ]);
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: exact.map(({ network, address }) => networkAddressKey(network, address)),
    cidrVips: ranges.map(
      ({ network, address, length }) => `${networkAddressKey(network, address)}/${length}`,
    ),
    ports: dumpPorts(service.ports),
    loadBalancer: { mode, routingPreferences, healthPolicy },
    waypoint: dumpGateway(service.waypoint),
    endpoints: Object.fromEntries(endpoints),
    subjectAltNames: service.subjectAltNames,
    ipFamilies: service.ipFamilies,
    canonical: service.canonical,
    visibility: service.visibility,
  };
}

function dumpPorts(ports: readonly Port[]): Record<number, number> {
  return Object.fromEntries(ports.map(({ servicePort, targetPort }) => [servicePort, targetPort]));
}

function dumpGateway(gateway: GatewayAddress | undefined): unknown {
  if (gateway === undefined) return undefined;
  const { destination, hboneMtlsPort } = gateway;
  const where =
    destination.kind === 'address'
      ? networkAddressKey(destination.network, destination.address)
      : `${destination.namespace}/${destination.hostname}`;
  return { destination: where, hboneMtlsPort };
}

function dumpPolicy(policy: Authorization): unknown {
  const { name, namespace, scope, action, dryRun, notUnderstood } = policy;
  const rules = policy.rules.map(({ clauses }) => clauses.map(({ matches }) => matches.map(dumpMatch)));
  return {
    name,
    namespace,
    scope: titleCase(scope),
    action: titleCase(action),
    dryRun,
    rules,
    notUnderstood,
  };
}

function dumpMatch(match: Match): unknown {
  const strings = (values: readonly StringMatch[]) => values.map(dumpStringMatch);
  const ranges = (values: Match['sourceIps']) => values.map(({ address, length }) => `${address}/${length}`);
  const fields = {
    namespaces: strings(match.namespaces),
    notNamespaces: strings(match.notNamespaces),
    principals: strings(match.principals),
    notPrincipals: strings(match.notPrincipals),
    sourceIps: ranges(match.sourceIps),
    notSourceIps: ranges(match.notSourceIps),
    destinationIps: ranges(match.destinationIps),
    notDestinationIps: ranges(match.notDestinationIps),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, values]) => values.length > 0));
}

function dumpStringMatch(match: StringMatch): unknown {
  return match.kind === 'presence' ? { Presence: true } : { [titleCase(match.kind)]: match.value };
}

/** `WORKLOAD_SELECTOR` is `WorkloadSelector` there. */
function titleCase(text: string): string {
  return text
    .toLowerCase()
    .split('_')
    .map((word) => `${word[0]?.toUpperCase()}${word.slice(1)}`)
    .join('');
}
