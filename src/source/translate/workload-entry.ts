import { canonicalAddress } from '../../model/address.ts';
import { createWorkload, type WorkloadFields } from '../../model/workload.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import {
  entryLabels,
  type WorkloadEntryObject,
  type WorkloadEntrySpec,
} from '../kubernetes/workload-entry.ts';
import { canonicalOf } from './canonical-name.ts';
import { labels, type Texts } from './label-names.ts';
import { machineMemberships } from './memberships.ts';
import { namespaceNetwork, networkGateway, parseLocality } from './place.ts';
import { type TranslatedResources, type TranslationWarning, translated, warning } from './resources.ts';
import type { ClusterView } from './view.ts';
import { bindWaypoint, instanceTunnel } from './waypoint.ts';
import { policiesOf } from './workload-policies.ts';

/** A machine outside the cluster. */
export function translateWorkloadEntry(entry: WorkloadEntryObject, view: ClusterView): TranslatedResources {
  const { metadata, spec } = entry;
  const { name, namespace } = metadata;
  const own = entryLabels(entry);
  const warnings: TranslationWarning[] = [];
  const where = machineAddress(spec.address, { object: entry, field: 'spec.address' }, warnings);
  if (where === undefined) return translated({ warnings });
  const binding = bindWaypoint(view, {
    object: entry,
    traffic: 'workload',
    namespace,
    labels: own,
    annotations: metadata.annotations,
  });
  const workload = createWorkload({
    ...machineFields(view, { namespace, name, spec, labels: own }),
    ...where,
    uid: `${view.names.clusterId}/networking.istio.io/WorkloadEntry/${namespace}/${name}`,
    status: isHealthy(entry) ? 'HEALTHY' : 'UNHEALTHY',
    waypoint: binding.waypoint,
    applicationTunnel: instanceTunnel(view, { namespace, labels: own }),
    services: machineMemberships(view, { namespace, labels: own, ports: spec.ports }),
  });
  return translated({ workloads: [workload], warnings: [...binding.warnings, ...warnings] });
}

/** What a WorkloadEntry and an endpoint of a ServiceEntry say alike; policies select them as they select pods. */
export function machineFields(
  view: ClusterView,
  {
    namespace,
    name,
    spec,
    labels: own,
  }: {
    readonly namespace: string;
    readonly name: string;
    readonly spec: WorkloadEntrySpec;
    readonly labels: Texts;
  },
): Omit<WorkloadFields, 'uid'> {
  const network = spec.network || (own[labels.network] ?? namespaceNetwork(view, namespace));
  const native = own[labels.tunnel] === 'http';
  const workloadName = own['service.istio.io/workload-name'] || name;
  return {
    name,
    namespace,
    network,
    networkGateway: networkGateway(view, network),
    tunnelProtocol: native ? 'HBONE' : 'NONE',
    nativeTunnel: native,
    trustDomain: view.names.trustDomain,
    serviceAccount: spec.serviceAccount,
    ...canonicalOf(own, workloadName),
    workloadType: 'POD',
    workloadName,
    clusterId: view.names.clusterId,
    locality: parseLocality(spec.locality),
    // 0 is not said.
    capacity: spec.weight || 1,
    authorizationPolicies: policiesOf(view, { namespace, labels: own }),
  };
}

/** An address, or a name to resolve; undefined with a warning when it is neither. */
export function machineAddress(
  text: string,
  about: { readonly object: KnownObject; readonly field: string },
  warnings: TranslationWarning[],
): Pick<WorkloadFields, 'addresses'> | Pick<WorkloadFields, 'hostname'> | undefined {
  const address = canonicalAddress(text);
  if (address !== undefined) return { addresses: [address] };
  const hostname = text.toLowerCase().replace(/\.$/, '');
  if (/^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(hostname)) return { hostname };
  const what = text.startsWith('unix://') ? 'a socket of its own machine' : 'no address and no host name';
  const reason = `is "${text}", ${what}: nobody can be connected to it, and it is left out`;
  warnings.push(warning(about.object, about.field, reason));
  return undefined;
}

/** Only one that is checked says so; the others are taken to be well. */
function isHealthy({ metadata, status }: WorkloadEntryObject): boolean {
  if (metadata.deletionTimestamp !== undefined) return false;
  const told = status.conditions.find(({ type }) => type === 'Healthy');
  return told === undefined || told.status === 'True';
}
