import type { DnsAlias } from '../../model/dns-alias.ts';
import { createService, type LoadBalancing, type Service } from '../../model/service.ts';
import { clusterAddresses, type ServiceObject } from '../kubernetes/service.ts';
import { canonicalAddresses } from './addresses.ts';
import { serviceHostname } from './context.ts';
import { type TranslatedResources, translated } from './resources.ts';
import { servicePorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';
import { namedWaypoint } from './waypoint.ts';

/** An ExternalName service is an alias in DNS and carries nothing. */
export function translateService(service: ServiceObject, view: ClusterView): TranslatedResources {
  const { names } = view;
  const { name, namespace: within, labels } = service.metadata;
  const hostname = serviceHostname(names, within, name);
  if (service.spec.type === 'ExternalName') return translated({ aliases: aliases(service, hostname) });
  const namespace = view.get('Namespace', '', within);
  const made = createService({
    name,
    namespace: within,
    hostname,
    addresses: canonicalAddresses(clusterAddresses(service)).map((address) =>
      Object.freeze({ network: names.network, address, length: undefined }),
    ),
    ports: servicePorts(service),
    waypoint: namedWaypoint(names, within, labels, namespace?.metadata.labels),
    loadBalancing: loadBalancing(service),
    ipFamilies: ipFamilies(service),
    canonical: true,
  });
  return translated({ services: [made] });
}

function aliases(service: ServiceObject, hostname: string): DnsAlias[] {
  const target = (service.spec.externalName ?? '').toLowerCase().replace(/\.$/, '');
  return target === '' ? [] : [Object.freeze({ namespace: service.metadata.namespace, hostname, target })];
}

function loadBalancing(service: ServiceObject): LoadBalancing {
  const healthPolicy = service.spec.publishNotReadyAddresses ? 'ALLOW_ALL' : 'ONLY_HEALTHY';
  if (service.spec.internalTrafficPolicy === 'Local') {
    return { routingPreference: ['NODE'], mode: 'STRICT', healthPolicy };
  }
  const wish =
    service.metadata.annotations['networking.istio.io/traffic-distribution'] ??
    service.spec.trafficDistribution;
  if (wish === 'PreferClose' || wish === 'PreferSameZone') {
    return { routingPreference: ['NETWORK', 'REGION', 'ZONE'], mode: 'FAILOVER', healthPolicy };
  }
  if (wish === 'PreferSameNode') {
    return {
      routingPreference: ['NETWORK', 'REGION', 'ZONE', 'SUBZONE', 'NODE'],
      mode: 'FAILOVER',
      healthPolicy,
    };
  }
  return { routingPreference: [], mode: 'UNSPECIFIED_MODE', healthPolicy };
}

function ipFamilies(service: ServiceObject): Service['ipFamilies'] {
  const families = service.spec.ipFamilies;
  if (families.length > 1) return 'DUAL';
  if (families.length === 0) return 'AUTOMATIC';
  return families[0] === 'IPv4' ? 'IPV4_ONLY' : 'IPV6_ONLY';
}
