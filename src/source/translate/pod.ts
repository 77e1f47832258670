import { outboundPolicyExtension } from '../../model/outbound-policy.ts';
import { sameNodeExtension } from '../../model/same-node.ts';
import { createWorkload, type TunnelProtocol } from '../../model/workload.ts';
import { isReady, isTerminal, type PodObject, podAddresses } from '../kubernetes/pod.ts';
import { canonicalAddresses } from './addresses.ts';
import { canonicalName, canonicalRevision, workloadName } from './canonical-name.ts';
import { podCaptureSettings } from './capture-settings.ts';
import type { MeshNames } from './context.ts';
import { enrolmentWish, isPublished } from './enrolment.ts';
import { labelField, labels } from './label-names.ts';
import { podMemberships } from './memberships.ts';
import { networkGateway, podLocality, podNetwork } from './place.ts';
import { noResources, type TranslatedResources, translated, warning } from './resources.ts';
import { sameNodeOfPod } from './same-node.ts';
import { selectedOutboundPolicy } from './sidecar.ts';
import type { ClusterView } from './view.ts';
import { bindWaypoint, instanceTunnel } from './waypoint.ts';
import { policiesOf } from './workload-policies.ts';

/** Nothing for a pod that nobody can reach: without an address yet, or ended. */
export function translatePod(pod: PodObject, view: ClusterView): TranslatedResources {
  const { names } = view;
  const { metadata } = pod;
  const addresses = canonicalAddresses(podAddresses(pod));
  if (addresses.length === 0 || isTerminal(pod)) return noResources;
  const binding = bindWaypoint(view, { object: pod, traffic: 'workload', ...metadata });
  const network = podNetwork(view, pod);
  const ownPolicy = selectedOutboundPolicy(metadata, view);
  const sameNode = sameNodeOfPod(pod, view);
  const workload = createWorkload({
    uid: podWorkloadUid(names, metadata),
    name: metadata.name,
    namespace: metadata.namespace,
    addresses,
    network,
    networkGateway: networkGateway(view, network),
    networkMode: pod.spec.hostNetwork ? 'HOST_NETWORK' : 'STANDARD',
    ...tunnel(pod, view),
    trustDomain: names.trustDomain,
    serviceAccount: pod.spec.serviceAccountName,
    node: pod.spec.nodeName,
    canonicalName: canonicalName(pod),
    canonicalRevision: canonicalRevision(pod),
    workloadType: 'POD',
    workloadName: workloadName(pod),
    status: isReady(pod) && metadata.deletionTimestamp === undefined ? 'HEALTHY' : 'UNHEALTHY',
    clusterId: names.clusterId,
    locality: podLocality(view, pod),
    waypoint: binding.waypoint,
    applicationTunnel: instanceTunnel(view, metadata),
    services: podMemberships(pod, view),
    authorizationPolicies: policiesOf(view, metadata),
    extensions: [
      ...(ownPolicy === undefined ? [] : [outboundPolicyExtension(ownPolicy)]),
      ...(sameNode.wish === undefined ? [] : [sameNodeExtension(sameNode.wish)]),
    ],
  });
  const warnings = [
    ...binding.warnings,
    ...tlsModeWarnings(pod),
    ...podCaptureSettings(pod).warnings,
    ...sameNode.warnings,
  ];
  return translated({ workloads: [workload], warnings });
}

function tunnel(
  pod: PodObject,
  view: ClusterView,
): { tunnelProtocol: TunnelProtocol; nativeTunnel: boolean } {
  const native = pod.metadata.labels[labels.tunnel] === 'http';
  const namespace = view.get('Namespace', '', pod.metadata.namespace);
  const held = isPublished(pod) && enrolmentWish(pod, namespace, view.names.enrolment).wanted;
  return { tunnelProtocol: native || held ? 'HBONE' : 'NONE', nativeTunnel: native };
}

/** Mutual TLS of a sidecar is not HBONE: a pod that has only that is reached in clear, if its own policy lets that in. */
function tlsModeWarnings(pod: PodObject) {
  if (pod.metadata.labels[labels.tlsMode] !== 'istio' || isPublished(pod)) return [];
  const reason =
    'is "istio": a sidecar ends its TLS. The mesh reaches it without; where it accepts only mutual TLS it refuses';
  return [warning(pod, labelField(labels.tlsMode), reason)];
}

export function podWorkloadUid(
  names: MeshNames,
  pod: { readonly namespace: string; readonly name: string },
): string {
  return `${names.clusterId}//Pod/${pod.namespace}/${pod.name}`;
}
