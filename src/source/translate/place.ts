/** Where something runs: its locality, its network, and the gateway at the edge of that network. */
import type { GatewayAddress } from '../../model/gateway-address.ts';
import type { Locality } from '../../model/workload.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import { networkGateways, nodesWithNetwork } from './indexes.ts';
import { labels, type Texts } from './label-names.ts';
import type { ClusterView } from './view.ts';
import { gatewayAddress, settingsOf } from './waypoint.ts';

/** The pod's own labels count before its node's. */
export function podLocality(view: ClusterView, pod: PodObject): Locality {
  const own = pod.metadata.labels;
  const ofNode = nodeLabels(view, pod.spec.nodeName);
  const of = (label: string) => own[label] ?? ofNode[label] ?? '';
  return { region: of(labels.region), zone: of(labels.zone), subzone: of(labels.subzone) };
}

/** The pod's own label, its node's, its namespace's, then the mesh's. */
export function podNetwork(view: ClusterView, pod: PodObject): string {
  return (
    pod.metadata.labels[labels.network] ??
    nodeLabels(view, pod.spec.nodeName)[labels.network] ??
    namespaceNetwork(view, pod.metadata.namespace)
  );
}

/** The network of what a namespace holds; the root namespace's label names the cluster's own. */
export function namespaceNetwork(view: ClusterView, namespace: string): string {
  return view.get('Namespace', '', namespace)?.metadata.labels[labels.network] ?? clusterNetwork(view);
}

export function clusterNetwork(view: ClusterView): string {
  const { network, rootNamespace } = view.names;
  if (network !== '') return network;
  return view.get('Namespace', '', rootNamespace)?.metadata.labels[labels.network] ?? '';
}

/** Networks from which the cluster's virtual addresses are used: its own, and those that nodes and the namespace name. */
export function virtualNetworks(view: ClusterView, namespace: string): readonly string[] {
  const ofNodes = view
    .indexed(nodesWithNetwork, '')
    .map(({ metadata }) => metadata.labels[labels.network] ?? '');
  return [...new Set([clusterNetwork(view), namespaceNetwork(view, namespace), ...ofNodes.sort()])];
}

/** `region/zone/subzone`, of which the last ones may be missing. */
export function parseLocality(text: string): Locality {
  const [region = '', zone = '', subzone = ''] = text.split('/');
  return { region, zone, subzone };
}

/** The first gateway, by namespace and name, that says it stands at the edge of the network and where it is. */
export function networkGateway(view: ClusterView, network: string): GatewayAddress | undefined {
  if (network === '') return undefined;
  for (const gateway of view.indexed(networkGateways, network)) {
    const address = gatewayAddress(view, gateway, settingsOf(view, gateway));
    if (address !== undefined) return address;
  }
  return undefined;
}

function nodeLabels(view: ClusterView, name: string): Texts {
  return name === '' ? {} : (view.get('Node', '', name)?.metadata.labels ?? {});
}
