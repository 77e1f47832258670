/** Which pods are in the mesh, and why not: one question for the agents that hold them and for those who ask `hadal status`. */
import type { EnrolmentSelector } from '../../config/enrolment-selectors.ts';
import type { LabelSelector } from '../../model/label-selector.ts';
import { selectorMatches } from '../../model/label-selector.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import { isTerminal, type PodObject, podAddresses } from '../kubernetes/pod.ts';
import { annotations, labels } from './label-names.ts';

/** Label of pods and namespaces: `ambient` joins the mesh, `none` on a pod leaves it. */
export const dataplaneModeLabel = labels.dataplaneMode;
/** Written when an agent holds the pod: from then on it is reachable by HBONE. */
export const redirectionAnnotation = annotations.redirection;

export interface EnrolmentRules {
  /** A pod is wished for when one of them matches. */
  readonly selectors: readonly EnrolmentSelector[];
  /** Namespaces whose pods carry the cluster itself. */
  readonly excludedNamespaces: readonly string[];
  /** The mesh's own components: proxies that must not go through themselves. */
  readonly rootNamespace: string;
  /** Only pods of this control plane (label `istio.io/rev`); '' takes all. A pod without the label is anybody's. */
  readonly revision: string;
  /** Runtime classes whose sockets the node's kernel never sees. */
  readonly sandboxedRuntimes: readonly string[];
}

const labelIs = (label: string, value: string): LabelSelector => ({
  matchLabels: { [label]: value },
  matchExpressions: [],
});

/** By the pod's own label. */
const byPod: EnrolmentSelector = { podSelector: labelIs(dataplaneModeLabel, 'ambient') };
/** By its namespace's, unless its own says no. */
const byNamespace: EnrolmentSelector = {
  podSelector: {
    matchLabels: {},
    matchExpressions: [{ key: dataplaneModeLabel, operator: 'NotIn', values: ['none'] }],
  },
  namespaceSelector: labelIs(dataplaneModeLabel, 'ambient'),
};

export const defaultEnrolmentRules: EnrolmentRules = Object.freeze({
  selectors: Object.freeze([byPod, byNamespace]),
  excludedNamespaces: Object.freeze(['kube-system']),
  rootNamespace: 'istio-system',
  revision: '',
  sandboxedRuntimes: Object.freeze(['gvisor', 'runsc', 'kata']),
});

export type EnrolmentReason =
  | 'pod label'
  | 'namespace label'
  | 'selector'
  | 'opted out by label'
  | 'no label'
  | 'host network'
  | 'has a sidecar'
  | 'excluded namespace'
  | 'proxy of the mesh'
  | 'sandboxed runtime'
  | 'other revision';

export interface EnrolmentWish {
  readonly wanted: boolean;
  readonly reason: EnrolmentReason;
}

/** Whether a pod should be in the mesh: what keeps it out counts before what asks for it. */
export function enrolmentWish(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
  rules: EnrolmentRules = defaultEnrolmentRules,
): EnrolmentWish {
  const obstacle = enrolmentObstacle(pod, namespace, rules);
  if (obstacle !== undefined) return { wanted: false, reason: obstacle };
  const ofPod = pod.metadata.labels;
  const ofNamespace = namespace?.metadata.labels ?? {};
  const match = rules.selectors.find(
    ({ podSelector, namespaceSelector }) =>
      (podSelector === undefined || selectorMatches(podSelector, ofPod)) &&
      (namespaceSelector === undefined ||
        (namespace !== undefined && selectorMatches(namespaceSelector, ofNamespace))),
  );
  if (match === undefined) {
    return {
      wanted: false,
      reason: ofPod[dataplaneModeLabel] === 'none' ? 'opted out by label' : 'no label',
    };
  }
  if (ofPod[dataplaneModeLabel] === 'ambient') return { wanted: true, reason: 'pod label' };
  return {
    wanted: true,
    reason: ofNamespace[dataplaneModeLabel] === 'ambient' ? 'namespace label' : 'selector',
  };
}

function enrolmentObstacle(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
  rules: EnrolmentRules,
): EnrolmentReason | undefined {
  const { metadata, spec } = pod;
  if (spec.hostNetwork) return 'host network';
  if (metadata.annotations[annotations.sidecarStatus] !== undefined) return 'has a sidecar';
  if (rules.excludedNamespaces.includes(metadata.namespace)) return 'excluded namespace';
  if (metadata.namespace === rules.rootNamespace && metadata.labels.app === 'ztunnel')
    return 'proxy of the mesh';
  const runtime = spec.runtimeClassName ?? '';
  if (rules.sandboxedRuntimes.some((name) => runtime === name || runtime.startsWith(`${name}-`)))
    return 'sandboxed runtime';
  const revision = metadata.labels[labels.revision] ?? namespace?.metadata.labels[labels.revision];
  if (rules.revision !== '' && revision !== undefined && revision !== rules.revision) return 'other revision';
  return undefined;
}

/** Held by an agent, which answered; wishing alone does not make a pod reachable by HBONE. */
export function isPublished(pod: PodObject): boolean {
  return pod.metadata.annotations[redirectionAnnotation] === 'enabled';
}

export type EnrolmentState = 'enrolled' | 'waiting' | 'leaving' | 'outside' | 'ended';

/** Where a pod stands, for people. */
export interface EnrolmentReport {
  readonly namespace: string;
  readonly pod: string;
  readonly node: string;
  readonly state: EnrolmentState;
  readonly reason: EnrolmentReason;
  /** A sentence: what is so, and what would change it. */
  readonly detail: string;
}

export function enrolmentReport(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
  rules: EnrolmentRules = defaultEnrolmentRules,
): EnrolmentReport {
  const { wanted, reason } = enrolmentWish(pod, namespace, rules);
  const state = stateOf(pod, wanted);
  return Object.freeze({
    namespace: pod.metadata.namespace,
    pod: pod.metadata.name,
    node: pod.spec.nodeName,
    state,
    reason,
    detail: state === 'waiting' ? waitsFor(pod) : state === 'ended' ? 'has ended' : details[reason],
  });
}

function stateOf(pod: PodObject, wanted: boolean): EnrolmentState {
  if (isTerminal(pod)) return 'ended';
  if (isPublished(pod)) return wanted ? 'enrolled' : 'leaving';
  return wanted ? 'waiting' : 'outside';
}

function waitsFor(pod: PodObject): string {
  if (pod.spec.nodeName === '') return 'no node has it yet';
  if (podAddresses(pod).length === 0) return 'has no address yet';
  return pod.metadata.annotations[redirectionAnnotation] === 'pending'
    ? `the agent of node ${pod.spec.nodeName} tries to hold it, and did not succeed yet; see its log`
    : `the agent of node ${pod.spec.nodeName} has not answered for it; does one run there?`;
}

const details: Readonly<Record<EnrolmentReason, string>> = Object.freeze({
  'pod label': `its label ${dataplaneModeLabel} says so`,
  'namespace label': `its namespace's label ${dataplaneModeLabel} says so`,
  selector: 'a selector of the mesh matches it',
  'opted out by label': `its label ${dataplaneModeLabel} is none`,
  'no label': `neither it nor its namespace has the label ${dataplaneModeLabel}: ambient`,
  'host network': "it is in the node's own network, which cannot be captured for one pod",
  'has a sidecar':
    'it has a sidecar (annotation sidecar.istio.io/status); restart it without to change sides',
  'excluded namespace': 'its namespace is excluded from the mesh by option',
  'proxy of the mesh': "it is one of the mesh's own proxies",
  'sandboxed runtime': "its runtime class keeps its sockets out of the node's kernel: unsupported",
  'other revision': `its label ${labels.revision}, or its namespace's, names another control plane`,
});
