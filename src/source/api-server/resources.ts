/** Where the API serves each kind that the mesh reads. A kind of `ObjectKinds` without a row here does not compile. */
import { HadalError } from '../../base/errors.ts';
import type { ObjectKind } from '../kubernetes/objects.ts';

export interface ApiResource {
  /** Empty for the core group. */
  readonly group: string;
  /** The newest that is understood first; the next is asked for where the server does not serve it. */
  readonly versions: readonly [string, ...string[]];
  readonly plural: string;
  /** A custom resource, or one that older servers lack: nothing is amiss where it is not served. */
  readonly isOptional: boolean;
}

const core = (plural: string): ApiResource => ({ group: '', versions: ['v1'], plural, isOptional: false });
const custom = (group: string, versions: ApiResource['versions'], plural: string): ApiResource => ({
  group,
  versions,
  plural,
  isOptional: true,
});

const istioConfig = ['v1', 'v1beta1', 'v1alpha3'] as const;
const istioSecurity = ['v1', 'v1beta1'] as const;
const gateways = ['v1', 'v1beta1'] as const;

export const apiResources: Readonly<Record<ObjectKind, ApiResource> & Record<string, ApiResource>> = {
  Namespace: core('namespaces'),
  Node: core('nodes'),
  ServiceAccount: core('serviceaccounts'),
  Pod: core('pods'),
  Service: core('services'),
  EndpointSlice: { ...custom('discovery.k8s.io', ['v1'], 'endpointslices'), isOptional: false },
  // Servers before 1.31 have none unless they are told to.
  ServiceCIDR: custom('networking.k8s.io', ['v1', 'v1beta1'], 'servicecidrs'),
  ServiceEntry: custom('networking.istio.io', istioConfig, 'serviceentries'),
  Sidecar: custom('networking.istio.io', istioConfig, 'sidecars'),
  WorkloadEntry: custom('networking.istio.io', istioConfig, 'workloadentries'),
  AuthorizationPolicy: custom('security.istio.io', istioSecurity, 'authorizationpolicies'),
  PeerAuthentication: custom('security.istio.io', istioSecurity, 'peerauthentications'),
  Gateway: custom('gateway.networking.k8s.io', gateways, 'gateways'),
  GatewayClass: custom('gateway.networking.k8s.io', gateways, 'gatewayclasses'),
  HTTPRoute: custom('gateway.networking.k8s.io', gateways, 'httproutes'),
  GRPCRoute: custom('gateway.networking.k8s.io', ['v1', 'v1alpha2'], 'grpcroutes'),
  TLSRoute: custom('gateway.networking.k8s.io', ['v1', 'v1alpha3', 'v1alpha2'], 'tlsroutes'),
  TCPRoute: custom('gateway.networking.k8s.io', ['v1', 'v1alpha2'], 'tcproutes'),
};

/** The row of a kind by its name; for kinds that are named in data. */
export function apiResourceOf(kind: string): ApiResource {
  const resource = apiResources[kind];
  if (resource === undefined) {
    throw new HadalError(
      'ERR_INTERNAL',
      `src/source/api-server/resources.ts has no row for the kind ${kind}`,
    );
  }
  return resource;
}

/** `v1`, `security.istio.io/v1`. */
export function apiVersionOf({ group }: ApiResource, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

/** `/api/v1/pods`, `/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/deny-all`. */
export function resourcePath(
  resource: ApiResource,
  at: {
    readonly version?: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly subresource?: string;
  } = {},
): string {
  const apiVersion = apiVersionOf(resource, at.version ?? resource.versions[0]);
  const within =
    at.namespace === undefined || at.namespace === ''
      ? ''
      : `/namespaces/${encodeURIComponent(at.namespace)}`;
  const name = at.name === undefined ? '' : `/${encodeURIComponent(at.name)}`;
  const subresource = at.subresource === undefined ? '' : `/${at.subresource}`;
  return `${resource.group === '' ? '/api' : '/apis'}/${apiVersion}${within}/${resource.plural}${name}${subresource}`;
}
