/** Of which services a workload is an endpoint, and on which ports. */
import { serviceKey } from '../../model/service.ts';
import type { Port, ServiceMembership } from '../../model/workload.ts';
import { sliceService } from '../kubernetes/endpoint-slice.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import type { ServiceEntryObject } from '../kubernetes/service-entry.ts';
import { type MeshNames, serviceHostname } from './context.ts';
import {
  labelKeys,
  matchesLabels,
  serviceEntriesBySelector,
  servicesBySelector,
  slicesByPod,
} from './indexes.ts';
import type { Texts } from './label-names.ts';
import { endpointPorts, entryEndpointPorts, serviceEntryEndpointPorts, slicePorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';

type PortNumbers = Readonly<Record<string, number>>;

/** Services whose selector it satisfies, services whose hand-written slices name it, and ServiceEntries that select it. */
export function podMemberships(pod: PodObject, view: ClusterView): readonly ServiceMembership[] {
  const { namespace, labels } = pod.metadata;
  return oncePerService([
    ...selectingServices(view, namespace, labels).map((service) =>
      membership(keyOf(view.names, service), endpointPorts(service, pod)),
    ),
    ...sliceMemberships(pod, view),
    ...entryMemberships(view, { namespace, labels, ports: {} }),
  ]);
}

/** Of a machine, or of an endpoint that stands in a ServiceEntry: the same, with the numbers it gives for names of ports. */
export function machineMemberships(
  view: ClusterView,
  machine: { readonly namespace: string; readonly labels: Texts; readonly ports: PortNumbers },
): readonly ServiceMembership[] {
  return oncePerService([
    ...selectingServices(view, machine.namespace, machine.labels).map((service) =>
      membership(keyOf(view.names, service), entryEndpointPorts(service, machine.ports)),
    ),
    ...entryMemberships(view, machine),
  ]);
}

/** As an endpoint of all hosts of one ServiceEntry, or of some. */
export function serviceEntryMemberships(
  entry: ServiceEntryObject,
  ports: PortNumbers,
  hosts: readonly string[] = entry.spec.hosts,
): ServiceMembership[] {
  const { namespace } = entry.metadata;
  const own = serviceEntryEndpointPorts(entry, ports);
  return [...new Set(hosts)].map((hostname) => membership(serviceKey({ namespace, hostname }), own));
}

/** Services of the namespace whose selector these labels satisfy; a service without selector chooses nobody. */
function selectingServices(view: ClusterView, namespace: string, labels: Texts): ServiceObject[] {
  return labelKeys(namespace, labels)
    .flatMap((key) => view.indexed(servicesBySelector, key))
    .filter(({ spec }) => matchesLabels(spec.selector, labels));
}

function entryMemberships(
  view: ClusterView,
  {
    namespace,
    labels,
    ports,
  }: { readonly namespace: string; readonly labels: Texts; readonly ports: PortNumbers },
): ServiceMembership[] {
  return labelKeys(namespace, labels)
    .flatMap((key) => view.indexed(serviceEntriesBySelector, key))
    .filter(({ spec }) => matchesLabels(spec.workloadSelector?.labels ?? {}, labels))
    .flatMap((entry) => serviceEntryMemberships(entry, ports));
}

function sliceMemberships(pod: PodObject, view: ClusterView): ServiceMembership[] {
  const { namespace, name } = pod.metadata;
  return view.indexed(slicesByPod, `${namespace}/${name}`).flatMap((slice) => {
    const service = view.get('Service', slice.metadata.namespace, sliceService(slice) ?? '');
    if (service === undefined || service.spec.type === 'ExternalName') return [];
    return [membership(keyOf(view.names, service), slicePorts(service, slice))];
  });
}

function keyOf(names: MeshNames, { metadata: { namespace, name } }: ServiceObject): string {
  return serviceKey({ namespace, hostname: serviceHostname(names, namespace, name) });
}

export function membership(service: string, ports: readonly Port[]): ServiceMembership {
  return Object.freeze({ service, ports: Object.freeze(ports) });
}

/**
 * In the order of names, so that the order in which objects came to be known does not show. Slices of both families give one
 * service twice; the first that says so counts, which is the selector where there is one.
 */
function oncePerService(memberships: readonly ServiceMembership[]): readonly ServiceMembership[] {
  const first = new Map<string, ServiceMembership>();
  for (const each of memberships) if (!first.has(each.service)) first.set(each.service, each);
  return [...first.values()].sort((left, right) => (left.service < right.service ? -1 : 1));
}
