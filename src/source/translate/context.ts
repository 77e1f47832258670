import { defaultEnrolmentRules, type EnrolmentRules } from './enrolment.ts';

/** What a translation needs to know beside the objects. */
export interface MeshNames {
  readonly clusterId: string;
  readonly trustDomain: string;
  /** Name of the network that pods are on; '' when there is only one. */
  readonly network: string;
  /** `cluster.local`. */
  readonly clusterDomain: string;
  /** Namespace whose policies and labels count for the whole mesh. */
  readonly rootNamespace: string;
  /** Which pods are in the mesh. */
  readonly enrolment: EnrolmentRules;
}

export const defaultMeshNames: MeshNames = Object.freeze({
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  network: '',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  enrolment: defaultEnrolmentRules,
});

export function serviceHostname(names: MeshNames, namespace: string, service: string): string {
  return `${service}.${namespace}.svc.${names.clusterDomain}`;
}
