import type { GatewayAddress, NetworkAddress } from './gateway-address.ts';
import type { Port } from './workload.ts';

/** Names as in the proto; the order is their number. */
export const ipFamilySettings = ['AUTOMATIC', 'IPV4_ONLY', 'IPV6_ONLY', 'DUAL'] as const;
export const visibilities = ['PUBLIC', 'NAMESPACE'] as const;
export const loadBalancingScopes = [
  'UNSPECIFIED_SCOPE',
  'REGION',
  'ZONE',
  'SUBZONE',
  'NODE',
  'CLUSTER',
  'NETWORK',
] as const;
export const loadBalancingModes = ['UNSPECIFIED_MODE', 'STRICT', 'FAILOVER', 'PASSTHROUGH'] as const;
export const healthPolicies = ['ONLY_HEALTHY', 'ALLOW_ALL'] as const;

export type IpFamilySetting = (typeof ipFamilySettings)[number];
export type Visibility = (typeof visibilities)[number];
export type LoadBalancingScope = (typeof loadBalancingScopes)[number];
export type LoadBalancingMode = (typeof loadBalancingModes)[number];
export type HealthPolicy = (typeof healthPolicies)[number];

export interface LoadBalancing {
  /** Places that an endpoint should share with the source, most important first. */
  readonly routingPreference: readonly LoadBalancingScope[];
  readonly mode: LoadBalancingMode;
  readonly healthPolicy: HealthPolicy;
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress;
  readonly weight: number;
}

/** A name with virtual addresses in front of workloads. Mirrors `istio.workload.Service`. */
export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly addresses: readonly NetworkAddress[];
  readonly ports: readonly Port[];
  /** SPIFFE ids that its endpoints may have besides their own. */
  readonly subjectAltNames: readonly string[];
  readonly waypoint: GatewayAddress | undefined;
  readonly weightedWaypoints: readonly WeightedWaypoint[];
  readonly loadBalancing: LoadBalancing;
  readonly ipFamilies: IpFamilySetting;
  /** The service that its namespace's own name means, as Kubernetes Services are and ServiceEntries are not. */
  readonly canonical: boolean;
  readonly ingressUseWaypoint: boolean;
  readonly visibility: Visibility;
  readonly extensions: readonly string[];
}

export type ServiceFields = Pick<Service, 'namespace' | 'hostname'> & Partial<Service>;

const anyEndpoint: LoadBalancing = Object.freeze({
  routingPreference: Object.freeze([]),
  mode: 'UNSPECIFIED_MODE',
  healthPolicy: 'ONLY_HEALTHY',
});

/** A frozen service with the defaults of the wire filled in. */
export function createService(fields: ServiceFields): Service {
  return Object.freeze({
    name: fields.name ?? '',
    namespace: fields.namespace,
    hostname: fields.hostname,
    addresses: Object.freeze([...(fields.addresses ?? [])]),
    ports: Object.freeze([...(fields.ports ?? [])]),
    subjectAltNames: Object.freeze([...(fields.subjectAltNames ?? [])]),
    waypoint: fields.waypoint,
    weightedWaypoints: Object.freeze([...(fields.weightedWaypoints ?? [])]),
    loadBalancing: fields.loadBalancing ?? anyEndpoint,
    ipFamilies: fields.ipFamilies ?? 'AUTOMATIC',
    canonical: fields.canonical ?? false,
    ingressUseWaypoint: fields.ingressUseWaypoint ?? false,
    visibility: fields.visibility ?? 'PUBLIC',
    extensions: Object.freeze([...(fields.extensions ?? [])]),
  });
}

/** `namespace/hostname`: the resource name of a service. */
export function serviceKey(service: Pick<Service, 'namespace' | 'hostname'>): string {
  return `${service.namespace}/${service.hostname}`;
}
