import type { ClusterView } from './view.ts';

/** What a policy can select: a pod, a machine, an endpoint outside. */
export interface SelectedWorkload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** `namespace/name` of the policies that select it by labels; those of its namespace and of the mesh count without. */
export function policiesOf(_view: ClusterView, _workload: SelectedWorkload): readonly string[] {
  return [];
}
