import { serviceKey } from '../../model/service.ts';
import type { ServiceMembership } from '../../model/workload.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import { serviceHostname } from './context.ts';
import { labelKeys, matchesLabels, servicesBySelector } from './indexes.ts';
import { endpointPorts } from './service-ports.ts';
import type { ClusterView } from './view.ts';

/** Services of the namespace whose selector these labels satisfy; a service without selector chooses nobody. */
export function selectingServices(
  view: ClusterView,
  namespace: string,
  labels: Readonly<Record<string, string>>,
): ServiceObject[] {
  return labelKeys(namespace, labels)
    .flatMap((key) => view.indexed(servicesBySelector, key))
    .filter(({ spec }) => matchesLabels(spec.selector, labels));
}

export function podMemberships(pod: PodObject, view: ClusterView): ServiceMembership[] {
  const { namespace, labels } = pod.metadata;
  return byService(
    selectingServices(view, namespace, labels).map((service) =>
      Object.freeze({
        service: serviceKey({
          namespace,
          hostname: serviceHostname(view.names, namespace, service.metadata.name),
        }),
        ports: Object.freeze(endpointPorts(service, pod)),
      }),
    ),
  );
}

/** In the order of names, so that the order in which objects came to be known does not show. */
export function byService(memberships: readonly ServiceMembership[]): ServiceMembership[] {
  return memberships.toSorted((left, right) => (left.service < right.service ? -1 : 1));
}
