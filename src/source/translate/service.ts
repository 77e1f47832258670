import type { DnsAlias } from '../../model/dns-alias.ts';
import { createService, type Service } from '../../model/service.ts';
import { clientAffinityExtension } from '../../model/session-affinity.ts';
import { clusterAddresses, type ServiceObject } from '../kubernetes/service.ts';
import { canonicalAddresses } from './addresses.ts';
import { type MeshNames, serviceHostname } from './context.ts';
import { annotationField, annotations, labelField, labels } from './label-names.ts';
import { loadBalancing } from './load-balancing.ts';
import { virtualNetworks } from './place.ts';
import { type TranslatedResources, type TranslationWarning, translated, warning } from './resources.ts';
import { servicePorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';
import { visibilityOf } from './visibility.ts';
import { bindWaypoint } from './waypoint.ts';

/** An ExternalName service is an alias in DNS and carries nothing. */
export function translateService(service: ServiceObject, view: ClusterView): TranslatedResources {
  const { metadata } = service;
  const { name, namespace } = metadata;
  const hostname = serviceHostname(view.names, namespace, name);
  if (service.spec.type === 'ExternalName') return translated({ aliases: aliasOf(service, view.names) });
  const binding = bindWaypoint(view, { object: service, traffic: 'service', ...metadata });
  const isSticky = service.spec.sessionAffinity === 'ClientIP';
  const warnings: TranslationWarning[] = [...binding.warnings, ...globalWarnings(service)];
  if (isSticky && binding.named !== '') {
    const reason = 'is ClientIP, which agents heed; behind a waypoint the waypoint chooses the endpoint';
    warnings.push(warning(service, 'spec.sessionAffinity', reason));
  }
  const made = createService({
    name,
    namespace,
    hostname,
    addresses: virtualAddresses(service, view),
    ports: servicePorts(service),
    waypoint: binding.waypoint,
    weightedWaypoints: binding.weighted,
    ingressUseWaypoint: binding.ingress,
    loadBalancing: loadBalancing(balancingWish(service, view), warnings),
    ipFamilies: ipFamilies(service),
    visibility: visibilityOf(
      (metadata.annotations[annotations.exportTo] ?? '').split(','),
      { object: service, namespace, field: annotationField(annotations.exportTo) },
      warnings,
    ),
    canonical: true,
    extensions: isSticky ? [clientAffinityExtension] : [],
  });
  return translated({ services: [made], warnings });
}

function virtualAddresses(service: ServiceObject, view: ClusterView): Service['addresses'] {
  const addresses = canonicalAddresses(clusterAddresses(service));
  if (addresses.length === 0) return [];
  return virtualNetworks(view, service.metadata.namespace).flatMap((network) =>
    addresses.map((address) => Object.freeze({ network, address, length: undefined })),
  );
}

function balancingWish(service: ServiceObject, view: ClusterView) {
  const { spec, metadata } = service;
  const namespace = view.get('Namespace', '', metadata.namespace);
  return {
    object: service,
    annotations: [metadata.annotations, namespace?.metadata.annotations],
    field: spec.trafficDistribution,
    nodeLocal: spec.internalTrafficPolicy === 'Local',
    allowUnhealthy: spec.publishNotReadyAddresses,
  };
}

/** Other clusters are not read: what would be exported to them stays here, which loosens nothing. */
function globalWarnings(service: ServiceObject): TranslationWarning[] {
  if (service.metadata.labels[labels.global] !== 'true') return [];
  const reason =
    'is "true"; endpoints of other clusters are not read by this version, and none are told of these';
  return [warning(service, labelField(labels.global), reason)];
}

/** What an ExternalName service means; nothing when it names nothing. */
export function aliasOf(service: ServiceObject, names: MeshNames): DnsAlias[] {
  const { name, namespace } = service.metadata;
  const target = (service.spec.externalName ?? '').toLowerCase().replace(/\.$/, '');
  const isName = /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(target);
  return isName
    ? [Object.freeze({ namespace, hostname: serviceHostname(names, namespace, name), target })]
    : [];
}

function ipFamilies(service: ServiceObject): Service['ipFamilies'] {
  const families = service.spec.ipFamilies;
  if (families.length > 1) return 'DUAL';
  if (families.length === 0) return 'AUTOMATIC';
  return families[0] === 'IPv4' ? 'IPV4_ONLY' : 'IPV6_ONLY';
}
