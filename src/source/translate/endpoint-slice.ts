import { serviceKey } from '../../model/service.ts';
import { createWorkload, type Workload } from '../../model/workload.ts';
import {
  type EndpointSliceObject,
  isDerivedSlice,
  type SliceEndpoint,
  sliceService,
} from '../kubernetes/endpoint-slice.ts';
import { canonicalAddresses } from './addresses.ts';
import { serviceHostname } from './context.ts';
import { membership } from './memberships.ts';
import { clusterNetwork } from './place.ts';
import { noResources, type TranslatedResources, translated, warning } from './resources.ts';
import { slicePorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';

/**
 * Endpoints that somebody wrote by hand and that are no pods (a pod says more of itself, and finds its slices). Nothing is known
 * of what runs there, so the address stands for nobody: it is used only behind the service.
 */
export function translateEndpointSlice(slice: EndpointSliceObject, view: ClusterView): TranslatedResources {
  const name = sliceService(slice);
  if (name === undefined || isDerivedSlice(slice)) return noResources;
  const { namespace } = slice.metadata;
  if (slice.addressType === 'FQDN') {
    const reason = 'is FQDN, which Kubernetes does not use either; write a ServiceEntry for a host name';
    return translated({ warnings: [warning(slice, 'addressType', reason)] });
  }
  const service = view.get('Service', namespace, name);
  if (service === undefined || service.spec.type === 'ExternalName') return noResources;
  const services = [
    membership(
      serviceKey({ namespace, hostname: serviceHostname(view.names, namespace, name) }),
      slicePorts(service, slice),
    ),
  ];
  const byAddress = new Map<string, Workload>();
  for (const endpoint of slice.endpoints) {
    const [address] = canonicalAddresses(endpoint.addresses.slice(0, 1));
    if (address === undefined || endpoint.targetRef?.kind === 'Pod' || byAddress.has(address)) continue;
    byAddress.set(address, endpointWorkload(slice, endpoint, view, { address, services }));
  }
  return translated({ workloads: [...byAddress.values()] });
}

function endpointWorkload(
  { metadata }: EndpointSliceObject,
  endpoint: SliceEndpoint,
  view: ClusterView,
  known: { readonly address: string; readonly services: Workload['services'] },
): Workload {
  const { clusterId, trustDomain } = view.names;
  return createWorkload({
    uid: `${clusterId}/discovery.k8s.io/EndpointSlice/${metadata.namespace}/${metadata.name}/${known.address}`,
    name: metadata.name,
    namespace: metadata.namespace,
    addresses: [known.address],
    network: clusterNetwork(view),
    networkMode: 'HOST_NETWORK',
    trustDomain,
    node: endpoint.nodeName ?? '',
    locality: { region: '', zone: endpoint.zone ?? '', subzone: '' },
    // Not saying is being ready.
    status: (endpoint.conditions.ready ?? true) ? 'HEALTHY' : 'UNHEALTHY',
    clusterId,
    workloadType: 'POD',
    services: known.services,
  });
}
