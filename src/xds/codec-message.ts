/** The model as messages. Defaults of the wire are left out, so that equal resources have equal bytes. */
import { HadalError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import {
  type AddressMatch,
  type Authorization,
  authorizationActions,
  authorizationScopes,
  type Match,
  type StringMatch,
} from '../model/authorization.ts';
import type { GatewayAddress, NetworkAddress } from '../model/gateway-address.ts';
import {
  healthPolicies,
  ipFamilySettings,
  loadBalancingModes,
  loadBalancingScopes,
  type Service,
  visibilities,
} from '../model/service.ts';
import {
  applicationProtocols,
  applicationTunnelProtocols,
  networkModes,
  type Port,
  tunnelProtocols,
  type Workload,
  workloadStatuses,
  workloadTypes,
} from '../model/workload.ts';
import type * as policies from '../proto/authorization.gen.ts';
import type * as mesh from '../proto/workload.gen.ts';

export function workloadToMessage(workload: Workload): mesh.Workload {
  const { locality, applicationTunnel } = workload;
  const isSomewhere = locality.region !== '' || locality.zone !== '' || locality.subzone !== '';
  return {
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map(addressBytes),
    network: workload.network,
    tunnelProtocol: numberOf(tunnelProtocols, workload.tunnelProtocol),
    trustDomain: workload.trustDomain === 'cluster.local' ? '' : workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    waypoint: gatewayToMessage(workload.waypoint),
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: numberOf(workloadTypes, workload.workloadType),
    workloadName: workload.workloadName,
    nativeTunnel: workload.nativeTunnel,
    authorizationPolicies: [...workload.authorizationPolicies],
    status: numberOf(workloadStatuses, workload.status),
    clusterId: workload.clusterId,
    networkGateway: gatewayToMessage(workload.networkGateway),
    uid: workload.uid,
    hostname: workload.hostname,
    services: new Map(
      workload.services.map(({ service, ports }) => [service, { ports: ports.map(portToMessage) }]),
    ),
    applicationTunnel: applicationTunnel && {
      protocol: numberOf(applicationTunnelProtocols, applicationTunnel.protocol),
      port: applicationTunnel.port,
    },
    locality: isSomewhere ? { ...locality } : undefined,
    networkMode: numberOf(networkModes, workload.networkMode),
    extensions: workload.extensions.map(extensionToMessage),
    capacity: workload.capacity === 1 ? undefined : workload.capacity,
  };
}

export function serviceToMessage(service: Service): mesh.Service {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: service.addresses.map(networkAddressToMessage),
    ports: service.ports.map(portToMessage),
    subjectAltNames: [...service.subjectAltNames],
    waypoint: gatewayToMessage(service.waypoint),
    loadBalancing: loadBalancingToMessage(service),
    ipFamilies: numberOf(ipFamilySettings, service.ipFamilies),
    extensions: service.extensions.map(extensionToMessage),
    canonical: service.canonical,
    ingressUseWaypoint: service.ingressUseWaypoint,
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: gatewayToMessage(destination),
      weight,
    })),
    visibility: numberOf(visibilities, service.visibility),
  };
}

export function authorizationToMessage(policy: Authorization): policies.Authorization {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: numberOf(authorizationScopes, policy.scope),
    action: numberOf(authorizationActions, policy.action),
    rules: policy.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map(matchToMessage) })),
    })),
    dryRun: policy.dryRun,
    extensions: [],
  };
}

function loadBalancingToMessage({ loadBalancing }: Service): mesh.LoadBalancing | undefined {
  const { routingPreference, mode, healthPolicy } = loadBalancing;
  if (routingPreference.length === 0 && mode === 'UNSPECIFIED_MODE' && healthPolicy === 'ONLY_HEALTHY') {
    return undefined;
  }
  return {
    routingPreference: routingPreference.map((scope) => numberOf(loadBalancingScopes, scope)),
    mode: numberOf(loadBalancingModes, mode),
    healthPolicy: numberOf(healthPolicies, healthPolicy),
  };
}

function matchToMessage(match: Match): policies.Match {
  return {
    namespaces: match.namespaces.map(stringMatchToMessage),
    notNamespaces: match.notNamespaces.map(stringMatchToMessage),
    principals: match.principals.map(stringMatchToMessage),
    notPrincipals: match.notPrincipals.map(stringMatchToMessage),
    sourceIps: match.sourceIps.map(rangeToMessage),
    notSourceIps: match.notSourceIps.map(rangeToMessage),
    destinationIps: match.destinationIps.map(rangeToMessage),
    notDestinationIps: match.notDestinationIps.map(rangeToMessage),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
    serviceAccounts: match.serviceAccounts.map((account) => ({ ...account })),
    notServiceAccounts: match.notServiceAccounts.map((account) => ({ ...account })),
    extensions: [],
  };
}

function stringMatchToMessage(match: StringMatch): policies.StringMatch {
  return match.kind === 'presence'
    ? { matchType: { $case: 'presence', value: {} } }
    : { matchType: { $case: match.kind, value: match.value } };
}

function rangeToMessage({ address, length }: AddressMatch): policies.AddressRange {
  return { address: addressBytes(address), length };
}

function portToMessage({ servicePort, targetPort, appProtocol, name = '' }: Port): mesh.Port {
  return { servicePort, targetPort, appProtocol: numberOf(applicationProtocols, appProtocol), name };
}

function networkAddressToMessage({ network, address, length }: NetworkAddress): mesh.NetworkAddress {
  return { network, address: addressBytes(address), length };
}

function gatewayToMessage(gateway: GatewayAddress | undefined): mesh.GatewayAddress | undefined {
  if (gateway === undefined) return undefined;
  const { destination: to, hboneMtlsPort } = gateway;
  if (to.kind === 'hostname') {
    const value = { namespace: to.namespace, hostname: to.hostname };
    return { destination: { $case: 'hostname', value }, hboneMtlsPort };
  }
  const value = { network: to.network, address: addressBytes(to.address), length: undefined };
  return { destination: { $case: 'address', value }, hboneMtlsPort };
}

function extensionToMessage(name: string): mesh.Extension {
  return { name, config: undefined };
}

/** The model's names stand in the order of their numbers. */
function numberOf<const T extends string, Enum extends number>(names: readonly T[], name: T): Enum {
  return names.indexOf(name) as Enum;
}

function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === undefined) {
    throw new HadalError('ERR_XDS_RESOURCE_INVALID', `${JSON.stringify(text)} is no IP address`);
  }
  const hex = address.value.toString(16).padStart(address.family === 4 ? 8 : 32, '0');
  return Buffer.from(hex, 'hex');
}
