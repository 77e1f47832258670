import { isForAgents } from './authorization-policy.ts';
import { labelKeys, matchesLabels, policiesBySelector } from './indexes.ts';
import { peerAuthenticationOf } from './peer-authentication.ts';
import type { ClusterView } from './view.ts';

/** What a policy can select: a pod, a machine, an endpoint outside. */
export interface SelectedWorkload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** `namespace/name` of the policies that select it by labels; those of its namespace and of the mesh count without. */
export function policiesOf(view: ClusterView, workload: SelectedWorkload): readonly string[] {
  const { namespace, labels } = workload;
  const selecting = [...new Set([namespace, view.names.rootNamespace])]
    .flatMap((within) => labelKeys(within, labels))
    .flatMap((key) => view.indexed(policiesBySelector, key))
    .filter((policy) => isForAgents(policy) && matchesLabels(policy.spec.selector.matchLabels, labels))
    .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  const peers = peerAuthenticationOf(workload, view);
  return [...new Set(peers === undefined ? selecting : [...selecting, peers])].sort();
}
