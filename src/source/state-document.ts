/**
 * Mesh resources as the state file has them: the proto3 JSON form of the wire's messages, addresses as text. Fields at
 * their default are left out, as proto3 JSON does, so a file shows what is special about each.
 */
import { stringify } from 'yaml';
import type { Authorization, Match, StringMatch } from '../model/authorization.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import type { Service } from '../model/service.ts';
import type { Port, Workload } from '../model/workload.ts';

export interface StateDocumentParts {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  /** `istio.security.Authorization` in JSON form: as they are written, or by `policyDocument`. */
  readonly policies: readonly unknown[];
}

export function stateDocument(parts: StateDocumentParts): Record<string, unknown> {
  return {
    workloads: parts.workloads.map(workloadDocument),
    services: parts.services.map(serviceDocument),
    policies: parts.policies,
  };
}

export function stateText(parts: StateDocumentParts): string {
  return stringify(stateDocument(parts), { lineWidth: 0, aliasDuplicateObjects: false });
}

export function workloadDocument(workload: Workload): Record<string, unknown> {
  return withoutDefaults({
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses,
    hostname: workload.hostname,
    network: workload.network,
    networkMode: workload.networkMode === 'STANDARD' ? undefined : workload.networkMode,
    tunnelProtocol: workload.tunnelProtocol === 'NONE' ? undefined : workload.tunnelProtocol,
    nativeTunnel: workload.nativeTunnel || undefined,
    trustDomain: workload.trustDomain === 'cluster.local' ? undefined : workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: workload.workloadType === 'DEPLOYMENT' ? undefined : workload.workloadType,
    workloadName: workload.workloadName,
    status: workload.status === 'HEALTHY' ? undefined : workload.status,
    clusterId: workload.clusterId === 'Kubernetes' ? undefined : workload.clusterId,
    locality: Object.values(workload.locality).some((part) => part !== '') ? workload.locality : undefined,
    capacity: workload.capacity === 1 ? undefined : workload.capacity,
    waypoint: gatewayDocument(workload.waypoint),
    networkGateway: gatewayDocument(workload.networkGateway),
    applicationTunnel: workload.applicationTunnel,
    services: Object.fromEntries(
      workload.services.map(({ service, ports }) => [service, { ports: ports.map(portDocument) }]),
    ),
    authorizationPolicies: workload.authorizationPolicies,
    extensions: workload.extensions.map((name) => ({ name })),
  });
}

export function serviceDocument(service: Service): Record<string, unknown> {
  const { loadBalancing } = service;
  const balanced = withoutDefaults({
    routingPreference: loadBalancing.routingPreference,
    mode: loadBalancing.mode === 'UNSPECIFIED_MODE' ? undefined : loadBalancing.mode,
    healthPolicy: loadBalancing.healthPolicy === 'ONLY_HEALTHY' ? undefined : loadBalancing.healthPolicy,
  });
  return withoutDefaults({
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: service.addresses.map((address) => withoutDefaults({ ...address })),
    ports: service.ports.map(portDocument),
    subjectAltNames: service.subjectAltNames,
    waypoint: gatewayDocument(service.waypoint),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: gatewayDocument(destination),
      weight,
    })),
    loadBalancing: Object.keys(balanced).length > 0 ? balanced : undefined,
    ipFamilies: service.ipFamilies === 'AUTOMATIC' ? undefined : service.ipFamilies,
    canonical: service.canonical || undefined,
    ingressUseWaypoint: service.ingressUseWaypoint || undefined,
    visibility: service.visibility === 'PUBLIC' ? undefined : service.visibility,
    extensions: service.extensions.map((name) => ({ name })),
  });
}

export function policyDocument(policy: Authorization): Record<string, unknown> {
  const { name, namespace, scope, action, dryRun, rules } = policy;
  return withoutDefaults({
    name,
    namespace,
    scope: scope === 'GLOBAL' ? undefined : scope,
    action: action === 'ALLOW' ? undefined : action,
    dryRun: dryRun || undefined,
    rules: rules.map(({ clauses }) =>
      withoutDefaults({
        clauses: clauses.map(({ matches }) => withoutDefaults({ matches: matches.map(matchDocument) })),
      }),
    ),
  });
}

function matchDocument(match: Match): Record<string, unknown> {
  const texts = (values: readonly StringMatch[]) =>
    values.map((each) => (each.kind === 'presence' ? { presence: {} } : { [each.kind]: each.value }));
  return withoutDefaults({
    ...match,
    namespaces: texts(match.namespaces),
    notNamespaces: texts(match.notNamespaces),
    principals: texts(match.principals),
    notPrincipals: texts(match.notPrincipals),
  });
}

function portDocument(port: Port): Record<string, unknown> {
  return withoutDefaults({
    servicePort: port.servicePort,
    targetPort: port.targetPort === 0 ? undefined : port.targetPort,
    appProtocol: port.appProtocol === 'UNKNOWN' ? undefined : port.appProtocol,
    name: port.name,
  });
}

function gatewayDocument(gateway: GatewayAddress | undefined): Record<string, unknown> | undefined {
  if (gateway === undefined) return undefined;
  const { kind, ...place } = gateway.destination;
  return withoutDefaults({
    [kind]: withoutDefaults({ ...place }),
    hboneMtlsPort: gateway.hboneMtlsPort === 0 ? undefined : gateway.hboneMtlsPort,
  });
}

/** Undefined, empty text, empty lists and empty maps are the defaults of proto3. */
function withoutDefaults(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => {
      if (value === undefined || value === '') return false;
      if (Array.isArray(value)) return value.length > 0;
      return typeof value !== 'object' || value === null || Object.keys(value).length > 0;
    }),
  );
}
