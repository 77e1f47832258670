import type { GatewayAddress } from './gateway-address.ts';
import { spiffeText } from './spiffe-id.ts';

/** Names as in the proto; the order is their number. */
export const tunnelProtocols = ['NONE', 'HBONE', 'LEGACY_ISTIO_MTLS'] as const;
export const workloadStatuses = ['HEALTHY', 'UNHEALTHY'] as const;
export const workloadTypes = ['DEPLOYMENT', 'CRONJOB', 'POD', 'JOB'] as const;
export const networkModes = ['STANDARD', 'HOST_NETWORK'] as const;
export const applicationProtocols = ['UNKNOWN', 'HTTP11', 'HTTP2', 'GRPC', 'TCP', 'TLS'] as const;
export const applicationTunnelProtocols = ['NONE', 'PROXY'] as const;

export type TunnelProtocol = (typeof tunnelProtocols)[number];
export type WorkloadStatus = (typeof workloadStatuses)[number];
export type WorkloadType = (typeof workloadTypes)[number];
export type NetworkMode = (typeof networkModes)[number];
export type ApplicationProtocol = (typeof applicationProtocols)[number];
export type ApplicationTunnelProtocol = (typeof applicationTunnelProtocols)[number];

export interface Port {
  readonly servicePort: number;
  /** 0: not given, the service's own target port counts. */
  readonly targetPort: number;
  readonly appProtocol: ApplicationProtocol;
  /** What DNS calls it (`_http._tcp`); only a control plane that tells it knows. */
  readonly name?: string;
}

/** That a workload is an endpoint of a service, and on which ports. */
export interface ServiceMembership {
  /** `namespace/hostname`. */
  readonly service: string;
  readonly ports: readonly Port[];
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** The workload's own tunnel end: what the agent puts in front of the bytes, and the port it listens on. */
export interface ApplicationTunnel {
  readonly protocol: ApplicationTunnelProtocol;
  /** 0: the port of the request. */
  readonly port: number;
}

/** Something that runs and has addresses: a pod, a machine, an external endpoint. Mirrors `istio.workload.Workload`. */
export interface Workload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Canonical text, in the order given; the first of a family is its main one. */
  readonly addresses: readonly string[];
  /** Host name to resolve instead of addresses. */
  readonly hostname: string;
  readonly network: string;
  readonly networkMode: NetworkMode;
  readonly tunnelProtocol: TunnelProtocol;
  readonly nativeTunnel: boolean;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
  readonly status: WorkloadStatus;
  readonly clusterId: string;
  readonly locality: Locality;
  /** Share of new connections among equals. */
  readonly capacity: number;
  readonly waypoint: GatewayAddress | undefined;
  readonly networkGateway: GatewayAddress | undefined;
  readonly applicationTunnel: ApplicationTunnel | undefined;
  readonly services: readonly ServiceMembership[];
  /** `namespace/name` of the policies that select this workload. */
  readonly authorizationPolicies: readonly string[];
  /** Names of extensions that the resource carries; none is understood yet, and none narrows what is written here. */
  readonly extensions: readonly string[];
}

/** All but the uid has the proto's default. */
export type WorkloadFields = Pick<Workload, 'uid'> & Partial<Workload>;

const noLocality: Locality = Object.freeze({ region: '', zone: '', subzone: '' });

/** A frozen workload with the defaults of the wire filled in. Parts handed in must be frozen or not changed afterwards. */
export function createWorkload(fields: WorkloadFields): Workload {
  return Object.freeze({
    uid: fields.uid,
    name: fields.name ?? '',
    namespace: fields.namespace ?? '',
    addresses: Object.freeze([...(fields.addresses ?? [])]),
    hostname: fields.hostname ?? '',
    network: fields.network ?? '',
    networkMode: fields.networkMode ?? 'STANDARD',
    tunnelProtocol: fields.tunnelProtocol ?? 'NONE',
    nativeTunnel: fields.nativeTunnel ?? false,
    trustDomain: fields.trustDomain || 'cluster.local',
    serviceAccount: fields.serviceAccount || 'default',
    node: fields.node ?? '',
    canonicalName: fields.canonicalName ?? '',
    canonicalRevision: fields.canonicalRevision ?? '',
    workloadType: fields.workloadType ?? 'DEPLOYMENT',
    workloadName: fields.workloadName ?? '',
    status: fields.status ?? 'HEALTHY',
    clusterId: fields.clusterId || 'Kubernetes',
    locality: fields.locality === undefined ? noLocality : Object.freeze({ ...fields.locality }),
    capacity: fields.capacity ?? 1,
    waypoint: fields.waypoint,
    networkGateway: fields.networkGateway,
    applicationTunnel: fields.applicationTunnel,
    services: Object.freeze([...(fields.services ?? [])]),
    authorizationPolicies: Object.freeze([...(fields.authorizationPolicies ?? [])]),
    extensions: Object.freeze([...(fields.extensions ?? [])]),
  });
}

/** The SPIFFE id that the workload's certificate names. */
export function workloadIdentity(workload: Workload): string {
  return spiffeText(workload.trustDomain, workload.namespace, workload.serviceAccount);
}
