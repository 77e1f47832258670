import { createService, type LoadBalancing, type Service } from '../../model/service.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import { clusterAddresses, type ServiceObject } from '../kubernetes/service.ts';
import { canonicalAddresses } from './addresses.ts';
import { type MeshNames, serviceHostname } from './context.ts';
import { servicePorts } from './service-ports.ts';
import { namedWaypoint } from './waypoint.ts';

/** Undefined for an ExternalName service: it is an alias in DNS and carries nothing. */
export function translateService(
  service: ServiceObject,
  namespace: NamespaceObject | undefined,
  names: MeshNames,
): Service | undefined {
  if (service.spec.type === 'ExternalName') return undefined;
  const { name, namespace: within, labels } = service.metadata;
  return createService({
    name,
    namespace: within,
    hostname: serviceHostname(names, within, name),
    addresses: canonicalAddresses(clusterAddresses(service)).map((address) =>
      Object.freeze({ network: names.network, address, length: undefined }),
    ),
    ports: servicePorts(service),
    waypoint: namedWaypoint(names, within, labels, namespace?.metadata.labels),
    loadBalancing: loadBalancing(service),
    ipFamilies: ipFamilies(service),
    canonical: true,
  });
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
