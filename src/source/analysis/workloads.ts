import type { PodObject } from '../kubernetes/pod.ts';
import { enrolmentWish } from '../translate/enrolment.ts';
import { matchesLabels } from '../translate/indexes.ts';
import type { Analysed } from './finding.ts';
import { writtenOf } from './finding.ts';

export type Labels = Readonly<Record<string, string>>;

/** Something that a selector can choose. */
export interface Selectable {
  readonly namespace: string;
  readonly labels: Labels;
  /** Undefined for a machine. */
  readonly pod: PodObject | undefined;
}

/** Pods and machines of a namespace; of all namespaces without one. */
export function selectables({ set }: Analysed, namespace: string | undefined): Selectable[] {
  const pods = writtenOf(set, 'Pod').map(({ object }) => ({ ...object.metadata, pod: object }));
  const machines = writtenOf(set, 'WorkloadEntry').map(({ object }) => ({
    namespace: object.metadata.namespace,
    labels: { ...object.metadata.labels, ...object.spec.labels },
    pod: undefined,
  }));
  return [...pods, ...machines].filter((each) => namespace === undefined || each.namespace === namespace);
}

export function selected(all: readonly Selectable[], selector: Labels): Selectable[] {
  return all.filter(({ labels }) => matchesLabels(selector, labels));
}

export function isWanted({ view }: Analysed, pod: PodObject): boolean {
  return enrolmentWish(pod, view.get('Namespace', '', pod.metadata.namespace)).wanted;
}

/** TCP ports that the pod's containers say they have; none said means nothing. */
export function containerPorts(pod: PodObject): number[] {
  return pod.spec.containers.flatMap(({ ports }) =>
    ports.filter(({ protocol }) => protocol === 'TCP').map(({ containerPort }) => containerPort),
  );
}

/** The label of a selector that nobody has like that, with what is there instead. */
export function describeMiss(all: readonly Selectable[], selector: Labels): string {
  for (const [label, value] of Object.entries(selector)) {
    const values = [...new Set(all.flatMap(({ labels }) => labels[label] ?? []))].sort();
    if (values.includes(value)) continue;
    return values.length === 0
      ? `nothing has the label ${label}`
      : `the label ${label} has only the values ${values.slice(0, 8).join(', ')}`;
  }
  return 'nothing has all of its labels at once';
}
