import type { NamespaceObject } from '../kubernetes/namespace.ts';
import type { PodObject } from '../kubernetes/pod.ts';

/** Label of pods and namespaces: `ambient` joins the mesh, `none` on a pod leaves it. */
export const dataplaneModeLabel = 'istio.io/dataplane-mode';
/** Written when an agent holds the pod: from then on it is reachable by HBONE. */
export const redirectionAnnotation = 'ambient.istio.io/redirection';
const sidecarAnnotation = 'sidecar.istio.io/status';

export type EnrolmentReason =
  | 'pod label'
  | 'namespace label'
  | 'opted out by label'
  | 'no label'
  | 'host network'
  | 'has a sidecar'
  | 'excluded namespace';

export interface EnrolmentWish {
  readonly wanted: boolean;
  readonly reason: EnrolmentReason;
}

/** Namespaces whose pods carry the cluster itself. */
export const excludedNamespaces: ReadonlySet<string> = new Set(['kube-system']);

/** Whether a pod should be in the mesh, by its own label first and its namespace's after. */
export function enrolmentWish(pod: PodObject, namespace: NamespaceObject | undefined): EnrolmentWish {
  if (pod.spec.hostNetwork) return { wanted: false, reason: 'host network' };
  if (pod.metadata.annotations[sidecarAnnotation] !== undefined)
    return { wanted: false, reason: 'has a sidecar' };
  if (excludedNamespaces.has(pod.metadata.namespace)) return { wanted: false, reason: 'excluded namespace' };
  const own = pod.metadata.labels[dataplaneModeLabel];
  if (own === 'ambient') return { wanted: true, reason: 'pod label' };
  if (own === 'none') return { wanted: false, reason: 'opted out by label' };
  if (namespace?.metadata.labels[dataplaneModeLabel] === 'ambient')
    return { wanted: true, reason: 'namespace label' };
  return { wanted: false, reason: 'no label' };
}

/** Held by an agent, which answered; wishing alone does not make a pod reachable by HBONE. */
export function isPublished(pod: PodObject): boolean {
  return pod.metadata.annotations[redirectionAnnotation] === 'enabled';
}
