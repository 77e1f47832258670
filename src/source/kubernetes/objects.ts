/** Raw documents in, typed objects out; a bad one is rejected alone, with its place, its field and the reason. */
import type { z } from 'zod';
import { type AuthorizationPolicyObject, authorizationPolicyObject } from './authorization-policy.ts';
import { type EndpointSliceObject, endpointSliceObject } from './endpoint-slice.ts';
import { type GatewayClassObject, type GatewayObject, gatewayClassObject, gatewayObject } from './gateway.ts';
import { type NamespaceObject, namespaceObject } from './namespace.ts';
import { type NodeObject, nodeObject } from './node.ts';
import { type PeerAuthenticationObject, peerAuthenticationObject } from './peer-authentication.ts';
import { type PodObject, podObject } from './pod.ts';
import { type RouteObject, routeObject } from './route.ts';
import { type ServiceObject, serviceObject } from './service.ts';
import { type ServiceAccountObject, serviceAccountObject } from './service-account.ts';
import { type ServiceCidrObject, serviceCidrObject } from './service-cidr.ts';
import { type ServiceEntryObject, serviceEntryObject } from './service-entry.ts';
import { type SidecarObject, sidecarObject } from './sidecar.ts';
import { type WorkloadEntryObject, workloadEntryObject } from './workload-entry.ts';

/** Where an object was written. */
export interface Origin {
  readonly file: string;
  /** Counted from 1, as in a file of several documents. */
  readonly document: number;
  /** First line of the document in its file, from 1. */
  readonly line: number;
}

export interface RawDocument {
  readonly origin: Origin;
  readonly value: unknown;
}

export interface Rejection {
  readonly origin: Origin;
  /** `Pod shop/front`; `object` when it does not even say what it is. */
  readonly object: string;
  /** `spec.containers[0].name`; empty when the object as a whole is meant. */
  readonly field: string;
  readonly reason: string;
}

/** Every kind that the mesh reads, by its `kind`, which is unique among them. */
export interface ObjectKinds {
  Namespace: NamespaceObject;
  ServiceAccount: ServiceAccountObject;
  Pod: PodObject;
  Service: ServiceObject;
  AuthorizationPolicy: AuthorizationPolicyObject;
  PeerAuthentication: PeerAuthenticationObject;
  Node: NodeObject;
  EndpointSlice: EndpointSliceObject;
  ServiceCIDR: ServiceCidrObject;
  WorkloadEntry: WorkloadEntryObject;
  ServiceEntry: ServiceEntryObject;
  Sidecar: SidecarObject;
  Gateway: GatewayObject;
  GatewayClass: GatewayClassObject;
  HTTPRoute: RouteObject;
  GRPCRoute: RouteObject;
  TLSRoute: RouteObject;
  TCPRoute: RouteObject;
}

export type ObjectKind = keyof ObjectKinds;
export type KnownObject = ObjectKinds[ObjectKind];

const schemas: Readonly<Record<string, z.ZodType<KnownObject>>> = {
  'v1/Namespace': namespaceObject,
  'v1/ServiceAccount': serviceAccountObject,
  'v1/Pod': podObject,
  'v1/Service': serviceObject,
  'v1/Node': nodeObject,
  'discovery.k8s.io/v1/EndpointSlice': endpointSliceObject,
  'networking.k8s.io/v1/ServiceCIDR': serviceCidrObject,
  'networking.istio.io/v1/WorkloadEntry': workloadEntryObject,
  'networking.istio.io/v1/ServiceEntry': serviceEntryObject,
  'networking.istio.io/v1/Sidecar': sidecarObject,
  'gateway.networking.k8s.io/v1/Gateway': gatewayObject,
  'gateway.networking.k8s.io/v1/GatewayClass': gatewayClassObject,
  'gateway.networking.k8s.io/v1/HTTPRoute': routeObject,
  'gateway.networking.k8s.io/v1/GRPCRoute': routeObject,
  'gateway.networking.k8s.io/v1/TLSRoute': routeObject,
  'gateway.networking.k8s.io/v1/TCPRoute': routeObject,
  'security.istio.io/v1/AuthorizationPolicy': authorizationPolicyObject,
  'security.istio.io/v1/PeerAuthentication': peerAuthenticationObject,
};

/** Older names of a version that is read: the same object, whichever of them it is written under. */
const sameVersions: Readonly<Record<string, string>> = {
  'security.istio.io/v1beta1': 'security.istio.io/v1',
  'networking.istio.io/v1beta1': 'networking.istio.io/v1',
  'networking.istio.io/v1alpha3': 'networking.istio.io/v1',
  'networking.k8s.io/v1beta1': 'networking.k8s.io/v1',
  'gateway.networking.k8s.io/v1beta1': 'gateway.networking.k8s.io/v1',
  'gateway.networking.k8s.io/v1alpha3': 'gateway.networking.k8s.io/v1',
  'gateway.networking.k8s.io/v1alpha2': 'gateway.networking.k8s.io/v1',
};

/** Kinds without a namespace. */
const clusterScoped: ReadonlySet<string> = new Set(['Namespace', 'Node', 'ServiceCIDR', 'GatewayClass']);

/** Kinds that would change what is allowed: leaving one out in silence would be a hole, so it is rejected by name. */
const refusedGroups = [
  'security.istio.io',
  'networking.istio.io',
  'gateway.networking.k8s.io',
  'networking.k8s.io',
];

/** Every kind that is read. */
export function readKinds(): ObjectKind[] {
  return [...new Set(Object.keys(schemas).map((name) => name.split('/').at(-1) as ObjectKind))];
}

/**
 * Those that the mesh is made of, for a source that asks for each. Of a ServiceAccount only `hadal analyze` wants to know, in
 * manifests: in a cluster a pod whose account is missing is not made at all, and an identity is what pods have.
 */
export function meshKinds(): ObjectKind[] {
  return readKinds().filter((kind) => kind !== 'ServiceAccount');
}

/** Who may connect is said by these. */
export const securityKinds: ReadonlySet<string> = new Set(['AuthorizationPolicy', 'PeerAuthentication']);
const securityName = 'security.istio.io/v1';

/** Of those groups, what changes nothing that the mesh does; nobody need be told that it is not read. */
const harmlessKinds: ReadonlySet<string> = new Set([
  'networking.k8s.io/Ingress',
  'networking.k8s.io/IngressClass',
  'networking.k8s.io/IPAddress',
  'networking.istio.io/WorkloadGroup',
  'networking.istio.io/ProxyConfig',
  'gateway.networking.k8s.io/ReferenceGrant',
]);

export type ParsedDocument =
  | { readonly kind: 'object'; readonly key: string; readonly object: KnownObject; readonly origin: Origin }
  /** Not a kind that the mesh reads. */
  | {
      readonly kind: 'other';
      readonly key: string;
      readonly apiVersion: string;
      readonly objectKind: string;
      readonly value: unknown;
      readonly origin: Origin;
    }
  | {
      readonly kind: 'rejected';
      readonly key: string | undefined;
      readonly rejections: readonly Rejection[];
    };

export function parseDocument({ origin, value }: RawDocument): ParsedDocument {
  const header = headerOf(value);
  if (typeof header === 'string') {
    return {
      kind: 'rejected',
      key: undefined,
      rejections: [{ origin, object: 'object', field: '', reason: header }],
    };
  }
  const { apiVersion, objectKind, key, title } = header;
  const schema = schemas[`${apiVersion}/${objectKind}`];
  if (schema === undefined) {
    const group = apiVersion.split('/')[0] ?? '';
    if (!refusedGroups.includes(group) || harmlessKinds.has(`${group}/${objectKind}`))
      return { kind: 'other', key, apiVersion, objectKind, value, origin };
    const reason = `${apiVersion} ${objectKind} is not understood by this version, and leaving it out could allow too much`;
    return { kind: 'rejected', key, rejections: [{ origin, object: title, field: '', reason }] };
  }
  const first = schema.safeParse(value);
  // A field that is null is one that is not there, as the API server reads it; few documents have any.
  const parsed = first.success ? first : schema.safeParse(withoutNulls(value));
  if (parsed.success) return { kind: 'object', key, object: parsed.data, origin };
  const rejections = parsed.error.issues.map((issue) => ({
    origin,
    object: title,
    field: fieldPath(issue.path),
    reason: reasonOf(issue, value),
  }));
  return { kind: 'rejected', key, rejections };
}

/** `<apiVersion>/<kind>/<namespace>/<name>`: the key of the document it came from. */
export function objectId({ apiVersion, kind, metadata: { namespace, name } }: KnownObject): string {
  return `${apiVersion}/${kind}/${namespace === '' ? name : `${namespace}/${name}`}`;
}

/** One line for the operator. */
export function describeRejection({ origin, object, field, reason }: Rejection): string {
  return `${describeOrigin(origin)}: ${object}: ${field === '' ? '' : `${field}: `}${reason}`;
}

export function describeOrigin({ file, document, line }: Origin): string {
  return `${file}, document ${document} (line ${line})`;
}

interface Header {
  readonly apiVersion: string;
  readonly objectKind: string;
  readonly key: string;
  readonly title: string;
}

/** What names an object, or why nothing does. */
function headerOf(value: unknown): Header | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'is not an object with apiVersion, kind and metadata';
  }
  const { apiVersion, kind, metadata } = value as Record<string, unknown>;
  if (typeof apiVersion !== 'string' || apiVersion === '') return 'apiVersion is missing';
  if (typeof kind !== 'string' || kind === '') return 'kind is missing';
  const version = sameVersions[apiVersion] ?? apiVersion;
  const { name, namespace } = (typeof metadata === 'object' && metadata !== null ? metadata : {}) as Record<
    string,
    unknown
  >;
  if (typeof name !== 'string' || name === '') return `${kind} without metadata.name`;
  const within = clusterScoped.has(kind) ? '' : typeof namespace === 'string' ? namespace : 'default';
  const path = within === '' ? name : `${within}/${name}`;
  // A policy under a version that is not read is still that policy: it must not look like another one, and the first one as gone.
  const named = securityKinds.has(kind) && version.startsWith('security.istio.io/') ? securityName : version;
  return {
    apiVersion: version,
    objectKind: kind,
    key: `${named}/${kind}/${path}`,
    title: `${kind} ${path}`,
  };
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== null);
  return Object.fromEntries(entries.map(([key, each]) => [key, withoutNulls(each)]));
}

function fieldPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

/** zod's message with what stood there, which is what the reader looks for in the file. */
function reasonOf(issue: z.core.$ZodIssue, root: unknown): string {
  let found: unknown = root;
  for (const part of issue.path) {
    found =
      typeof found === 'object' && found !== null ? (found as Record<PropertyKey, unknown>)[part] : undefined;
  }
  const given = found === undefined ? 'is missing' : `is ${JSON.stringify(found)?.slice(0, 80)}`;
  return `${given}: ${issue.message}`;
}
