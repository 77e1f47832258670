import { meshSettingsKey, meshSettingsOf } from '../model/mesh-settings.ts';
import { type OutboundTrafficPolicy, ownOutboundPolicy } from '../model/outbound-policy.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';

export interface OutboundPolicyWord {
  readonly policy: OutboundTrafficPolicy;
  /** Whose word it is, for the operator. */
  readonly saidBy: string;
}

const nobody: OutboundPolicyWord = Object.freeze({ policy: 'ALLOW_ANY', saidBy: 'nobody says otherwise' });

/**
 * What holds for a pod: its own word, its namespace's, the mesh's. `own` is what the agent itself was told, for the mesh.
 * Undefined: its own workload may say something, and is not known yet.
 */
export function outboundPolicyOf(
  snapshot: Pick<MeshSnapshot, 'workloads' | 'services'>,
  pod: { readonly uid: string; readonly namespace: string },
  own?: OutboundTrafficPolicy,
): OutboundPolicyWord | undefined {
  const { outboundPolicies, selectedNamespaces } = meshSettingsOf(snapshot.services.get(meshSettingsKey));
  const workload = snapshot.workloads.get(pod.uid);
  const ofWorkload = workload && ownOutboundPolicy(workload);
  if (ofWorkload !== undefined) return { policy: ofWorkload, saidBy: 'a Sidecar that selects the pod' };
  if (workload === undefined && selectedNamespaces.includes(pod.namespace)) return undefined;
  const of = (namespace: string) => outboundPolicies.find((each) => each.namespace === namespace)?.policy;
  const ofNamespace = of(pod.namespace);
  if (ofNamespace !== undefined) return { policy: ofNamespace, saidBy: `namespace ${pod.namespace}` };
  const ofMesh = of('') === 'REGISTRY_ONLY' || own === 'REGISTRY_ONLY' ? 'REGISTRY_ONLY' : (of('') ?? own);
  return ofMesh === undefined ? nobody : { policy: ofMesh, saidBy: 'the mesh' };
}
