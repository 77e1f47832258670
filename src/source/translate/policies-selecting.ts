import { hasSelector, isForAgents } from './authorization-policy.ts';
import { isSubset, peerAuthenticationOf } from './peer-authentication.ts';
import type { ClusterView } from './view.ts';

/** A pod, or a WorkloadEntry: what has a namespace and labels. */
export interface Selected {
  readonly metadata: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  };
}

/**
 * `namespace/name` of the policies that a workload must name, sorted: those that select it by labels, from its own and from
 * the root namespace. Policies of whole namespaces apply without being named.
 */
export function policiesSelecting({ metadata }: Selected, view: ClusterView): string[] {
  const { namespace, labels } = metadata;
  const selecting = [...new Set([namespace, view.names.rootNamespace])]
    .flatMap((within) => view.list('AuthorizationPolicy', within))
    .filter((policy) => isForAgents(policy) && hasSelector(policy) && isSubset(policy.spec.selector, labels))
    .map((policy) => `${policy.metadata.namespace}/${policy.metadata.name}`);
  const peers = peerAuthenticationOf({ namespace, labels }, view);
  return [...selecting, ...(peers === undefined ? [] : [peers])].sort();
}
