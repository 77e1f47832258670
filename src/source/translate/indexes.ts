/** Looks that go the other way: from a pod to what selects it. Each keeps a change from touching more than it means. */
import { isDerivedSlice } from '../kubernetes/endpoint-slice.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import { eastWestClass, remoteClass } from './gateway-settings.ts';
import { labels, type Texts } from './label-names.ts';
import type { ClusterIndex } from './view.ts';

/** The key under which a selector is found by whom it selects: its first pair, which all of them have. */
function selectorKeys(namespace: string, selector: Texts): string[] {
  const first = Object.keys(selector).sort()[0];
  return first === undefined ? [] : [labelKey(namespace, first, selector[first] ?? '')];
}

function labelKey(namespace: string, label: string, value: string): string {
  return `${namespace}/${label}=${value}`;
}

/** Keys of all selectors that could select something with these labels. */
export function labelKeys(namespace: string, own: Texts): string[] {
  return Object.entries(own).map(([label, value]) => labelKey(namespace, label, value));
}

export function matchesLabels(selector: Texts, own: Texts): boolean {
  return Object.entries(selector).every(([label, value]) => own[label] === value);
}

/** Services that choose their endpoints by labels. */
export const servicesBySelector: ClusterIndex<'Service'> = {
  name: 'services by selector',
  kind: 'Service',
  keysOf: ({ metadata, spec }: ServiceObject) =>
    spec.type === 'ExternalName' ? [] : selectorKeys(metadata.namespace, spec.selector),
};

/** AuthorizationPolicies that choose workloads by labels. */
export const policiesBySelector: ClusterIndex<'AuthorizationPolicy'> = {
  name: 'policies by selector',
  kind: 'AuthorizationPolicy',
  keysOf: ({ metadata, spec }) => selectorKeys(metadata.namespace, spec.selector.matchLabels),
};

/** All of them, under one key: there are few, and what the mesh has one of must know the first. */
export const peerAuthentications: ClusterIndex<'PeerAuthentication'> = {
  name: 'peer authentications',
  kind: 'PeerAuthentication',
  keysOf: () => ['mesh'],
};

/** All of them, under one key: there are few, and the settings of the mesh follow from all. */
export const sidecars: ClusterIndex<'Sidecar'> = {
  name: 'sidecars',
  kind: 'Sidecar',
  keysOf: () => ['mesh'],
};

/** ServiceEntries that choose their endpoints by labels. */
export const serviceEntriesBySelector: ClusterIndex<'ServiceEntry'> = {
  name: 'service entries by selector',
  kind: 'ServiceEntry',
  keysOf: ({ metadata, spec }) => selectorKeys(metadata.namespace, spec.workloadSelector?.labels ?? {}),
};

/** Slices that somebody wrote by hand, by the pods (`namespace/name`) that they name. */
export const slicesByPod: ClusterIndex<'EndpointSlice'> = {
  name: 'slices by pod',
  kind: 'EndpointSlice',
  keysOf: (slice) =>
    isDerivedSlice(slice)
      ? []
      : slice.endpoints.flatMap(({ targetRef }) =>
          targetRef?.kind === 'Pod'
            ? [`${targetRef.namespace || slice.metadata.namespace}/${targetRef.name}`]
            : [],
        ),
};

/** Gateways by the network at whose edge they stand. */
export const networkGateways: ClusterIndex<'Gateway'> = {
  name: 'gateways by network',
  kind: 'Gateway',
  keysOf: ({ metadata, spec }) => {
    const network = metadata.labels[labels.network];
    const isEdge = spec.gatewayClassName === eastWestClass || spec.gatewayClassName === remoteClass;
    return network === undefined || network === '' || !isEdge ? [] : [network];
  },
};

/** Nodes that name a network, all under ''. */
export const nodesWithNetwork: ClusterIndex<'Node'> = {
  name: 'nodes with a network',
  kind: 'Node',
  keysOf: ({ metadata }) => (metadata.labels[labels.network] === undefined ? [] : ['']),
};

/** Services that are only another name, all under ''. */
export const externalNames: ClusterIndex<'Service'> = {
  name: 'external names',
  kind: 'Service',
  keysOf: ({ spec }) => (spec.type === 'ExternalName' ? [''] : []),
};
