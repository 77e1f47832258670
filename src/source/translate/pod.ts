import { createWorkload } from '../../model/workload.ts';
import { isReady, isTerminal, type PodObject, podAddresses } from '../kubernetes/pod.ts';
import { canonicalAddresses } from './addresses.ts';
import { canonicalName, canonicalRevision, workloadName } from './canonical-name.ts';
import type { MeshNames } from './context.ts';
import { enrolmentWish, isPublished } from './enrolment.ts';
import { podMemberships } from './memberships.ts';
import { noResources, type TranslatedResources, translated } from './resources.ts';
import type { ClusterView } from './view.ts';
import { namedWaypoint } from './waypoint.ts';
import { policiesOf } from './workload-policies.ts';

/** Nothing for a pod that nobody can reach: without an address yet, or ended. */
export function translatePod(pod: PodObject, view: ClusterView): TranslatedResources {
  const { names } = view;
  const addresses = canonicalAddresses(podAddresses(pod));
  if (addresses.length === 0 || isTerminal(pod)) return noResources;
  const namespace = view.get('Namespace', '', pod.metadata.namespace);
  const native = pod.metadata.labels['networking.istio.io/tunnel'] === 'http';
  const held = isPublished(pod) && enrolmentWish(pod, namespace).wanted;
  const workload = createWorkload({
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
    services: podMemberships(pod, view),
    authorizationPolicies: policiesOf(view, pod.metadata),
  });
  return translated({ workloads: [workload] });
}

export function podWorkloadUid(
  names: MeshNames,
  pod: { readonly namespace: string; readonly name: string },
): string {
  return `${names.clusterId}//Pod/${pod.namespace}/${pod.name}`;
}
