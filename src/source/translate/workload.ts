import { serviceKey } from '../../model/service.ts';
import { createWorkload, type ServiceMembership, type Workload } from '../../model/workload.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import { isReady, isTerminal, type PodObject, podAddresses } from '../kubernetes/pod.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import { canonicalAddresses } from './addresses.ts';
import { canonicalName, canonicalRevision, workloadName } from './canonical-name.ts';
import { type MeshNames, serviceHostname } from './context.ts';
import { enrolmentWish, isPublished } from './enrolment.ts';
import { endpointPorts } from './service-ports.ts';
import { namedWaypoint } from './waypoint.ts';

/** Undefined for a pod that nobody can reach: without an address yet, or ended. */
export function translatePod(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
  services: readonly ServiceObject[],
  names: MeshNames,
): Workload | undefined {
  const addresses = canonicalAddresses(podAddresses(pod));
  if (addresses.length === 0 || isTerminal(pod)) return undefined;
  const native = pod.metadata.labels['networking.istio.io/tunnel'] === 'http';
  const held = isPublished(pod) && enrolmentWish(pod, namespace).wanted;
  return createWorkload({
    uid: podWorkloadUid(names, pod.metadata),
    name: pod.metadata.name,
    namespace: pod.metadata.namespace,
    addresses,
    network: pod.metadata.labels['topology.istio.io/network'] ?? names.network,
    networkMode: pod.spec.hostNetwork ? 'HOST_NETWORK' : 'STANDARD',
    tunnelProtocol: native || held ? 'HBONE' : 'NONE',
    nativeTunnel: native,
    trustDomain: names.trustDomain,
    serviceAccount: pod.spec.serviceAccountName,
    node: pod.spec.nodeName,
    canonicalName: canonicalName(pod),
    canonicalRevision: canonicalRevision(pod),
    workloadType: 'POD',
    workloadName: workloadName(pod),
    status: isReady(pod) && pod.metadata.deletionTimestamp === undefined ? 'HEALTHY' : 'UNHEALTHY',
    clusterId: names.clusterId,
    waypoint: namedWaypoint(names, pod.metadata.namespace, pod.metadata.labels),
    services: memberships(pod, services, names),
  });
}

export function podWorkloadUid(
  names: MeshNames,
  pod: { readonly namespace: string; readonly name: string },
): string {
  return `${names.clusterId}//Pod/${pod.namespace}/${pod.name}`;
}

/** Services of the pod's namespace whose selector it satisfies; a service without selector chooses nobody. */
function memberships(
  pod: PodObject,
  services: readonly ServiceObject[],
  names: MeshNames,
): ServiceMembership[] {
  return services
    .filter((service) => service.metadata.namespace === pod.metadata.namespace && selects(service, pod))
    .map((service) =>
      Object.freeze({
        service: serviceKey({
          namespace: service.metadata.namespace,
          hostname: serviceHostname(names, service.metadata.namespace, service.metadata.name),
        }),
        ports: Object.freeze(endpointPorts(service, pod)),
      }),
    );
}

function selects(service: ServiceObject, pod: PodObject): boolean {
  const wanted = Object.entries(service.spec.selector);
  if (service.spec.type === 'ExternalName' || wanted.length === 0) return false;
  return wanted.every(([label, value]) => pod.metadata.labels[label] === value);
}
