import type { PodObject } from '../kubernetes/pod.ts';

/** The name of what owns the pod, as people know it: the Deployment, not its ReplicaSet of the day. */
export function workloadName(pod: PodObject): string {
  const labelled = pod.metadata.labels['service.istio.io/workload-name'];
  if (labelled !== undefined && labelled !== '') return labelled;
  const owner = pod.metadata.ownerReferences.find((reference) => reference.controller === true);
  if (owner === undefined) return pod.metadata.name;
  const hash = pod.metadata.labels['pod-template-hash'];
  if (owner.kind === 'ReplicaSet' && hash !== undefined && owner.name.endsWith(`-${hash}`)) {
    return owner.name.slice(0, -hash.length - 1);
  }
  // A CronJob names its Jobs after the minute they run in.
  if (owner.kind === 'Job') return owner.name.replace(/-\d{8,10}$/, '');
  return owner.name;
}

/** The name that metrics and logs group by. */
export function canonicalName(pod: PodObject): string {
  return canonicalOf(pod.metadata.labels, workloadName(pod)).canonicalName;
}

export function canonicalRevision(pod: PodObject): string {
  return canonicalOf(pod.metadata.labels, '').canonicalRevision;
}

export function canonicalOf(
  labels: Readonly<Record<string, string>>,
  name: string,
): { readonly canonicalName: string; readonly canonicalRevision: string } {
  return {
    canonicalName: firstNonEmpty(
      labels['service.istio.io/canonical-name'],
      labels['app.kubernetes.io/name'],
      labels.app,
      name,
    ),
    canonicalRevision: firstNonEmpty(
      labels['service.istio.io/canonical-revision'],
      labels['app.kubernetes.io/version'],
      labels.version,
      'latest',
    ),
  };
}

function firstNonEmpty(...texts: (string | undefined)[]): string {
  return texts.find((text) => text !== undefined && text !== '') ?? '';
}
