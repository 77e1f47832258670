import type { DnsAlias } from '../../model/dns-alias.ts';
import { createMeshSettings, type MeshSettings } from '../../model/mesh-settings.ts';
import { nodePodRanges } from '../kubernetes/node.ts';
import type { ClusterView } from './view.ts';
import { virtualRanges } from './virtual-addresses.ts';

/** What an operator says beside what the cluster says of itself; needed where nodes do not give pods their addresses. */
export interface RangeOptions {
  readonly podRanges: readonly string[];
  readonly serviceRanges: readonly string[];
}

/** Pure, as a translation is: made again when a Node or a ServiceCIDR changes, or an alias does. */
export function meshSettings(
  view: ClusterView,
  options: RangeOptions = { podRanges: [], serviceRanges: [] },
  aliases: readonly DnsAlias[] = [],
): MeshSettings {
  return createMeshSettings({
    podRanges: [...options.podRanges, ...view.list('Node', '').flatMap(nodePodRanges)],
    serviceRanges: [
      ...options.serviceRanges,
      ...view.list('ServiceCIDR', '').flatMap(({ spec }) => spec.cidrs),
    ],
    virtualRanges,
    dnsAliases: aliases,
  });
}
