import type { DnsAlias } from '../../model/dns-alias.ts';
import { createMeshSettings, type MeshSettings, meshSettingsService } from '../../model/mesh-settings.ts';
import type { OutboundTrafficPolicy } from '../../model/outbound-policy.ts';
import type { SameNodeMode } from '../../model/same-node.ts';
import { nodePodRanges } from '../kubernetes/node.ts';
import { externalNames } from './indexes.ts';
import type { TranslatedResources } from './resources.ts';
import { aliasOf } from './service.ts';
import { outboundPolicies, selectedNamespaces } from './sidecar.ts';
import type { ClusterView } from './view.ts';
import { virtualRanges } from './virtual-addresses.ts';

/** What an operator says beside what the cluster says of itself; ranges where nodes do not give pods their addresses. */
export interface MeshOptions {
  readonly podRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  /** Of the mesh, where no Sidecar says otherwise. */
  readonly outboundTrafficPolicy?: OutboundTrafficPolicy | undefined;
  readonly sameNode?: SameNodeMode | undefined;
}

const noOptions: MeshOptions = Object.freeze({ podRanges: [], serviceRanges: [] });

/** Pure, as a translation is: made again when a Node, a ServiceCIDR or a service of type ExternalName changes. */
export function meshSettings(view: ClusterView, options: MeshOptions = noOptions): MeshSettings {
  const cidrs = view.list('ServiceCIDR', '').flatMap(({ spec }) => spec.cidrs);
  const services = [...options.serviceRanges, ...cidrs];
  const aliases: readonly DnsAlias[] = view
    .indexed(externalNames, '')
    .flatMap((service) => aliasOf(service, view.names));
  const said = outboundPolicies(view);
  const ofMesh = options.outboundTrafficPolicy;
  const isSaid = ofMesh === undefined || said.some(({ namespace }) => namespace === '');
  const policies = isSaid ? said : [...said, { namespace: '', policy: ofMesh }];
  return createMeshSettings({
    podRanges: [...options.podRanges, ...view.list('Node', '').flatMap(nodePodRanges)],
    // Alone they would say that the cluster's ranges are known, and everything else outside of it.
    serviceRanges: services.length === 0 ? [] : [...services, ...virtualRanges],
    dnsAliases: aliases,
    outboundPolicies: policies,
    selectedNamespaces: selectedNamespaces(view),
    sameNode: options.sameNode,
  });
}

/** As a resource beside those of objects; nothing when nothing is known. */
export function translateMeshSettings(
  view: ClusterView,
  options?: MeshOptions,
): Partial<TranslatedResources> {
  const service = meshSettingsService(meshSettings(view, options));
  return service === undefined ? {} : { services: [service] };
}
