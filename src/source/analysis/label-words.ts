/** Labels and annotations that look like the mesh's and are not, and values that mean nothing. */
import { editDistance } from '../../config/suggest-option.ts';
import { sameNodeModes } from '../../model/same-node.ts';
import {
  annotationField,
  annotations,
  exclusionAnnotations,
  labelField,
  labels,
} from '../translate/label-names.ts';
import { type Analysed, type Finding, finding } from './finding.ts';

/** Domains whose names are the mesh's. */
const meshName = /(^|\.)(istio|hadal)\.io\//;

const values: Readonly<Record<string, readonly string[]>> = {
  [labels.dataplaneMode]: ['ambient', 'none'],
  [labels.waypointFor]: ['service', 'workload', 'all', 'none'],
  [labels.ingressUseWaypoint]: ['true', 'false'],
  [labels.global]: ['true', 'false'],
  [labels.tunnel]: ['http'],
  [labels.autoallocate]: ['true', 'false'],
  [labels.sameNode]: sameNodeModes,
};

const annotationValues: Readonly<Record<string, readonly string[]>> = {
  [annotations.bypassInboundCapture]: ['true', 'false'],
  [annotations.dnsCapture]: ['true', 'false'],
  [annotations.turbo]: ['enabled', 'disabled'],
  [annotations.sameNode]: sameNodeModes,
  'istio.io/dry-run': ['true', 'false'],
};

/** What these words leave out of the mesh, or of what was wished, is an error; the rest is read as if it were not there. */
const decisive: readonly string[] = [labels.dataplaneMode];

const known = {
  label: [
    ...Object.values(labels),
    'service.istio.io/canonical-name',
    'service.istio.io/canonical-revision',
    'service.istio.io/workload-name',
    'istio.io/tag',
    'sidecar.istio.io/inject',
  ],
  annotation: [
    ...Object.values(annotations),
    ...Object.values(exclusionAnnotations),
    'istio.io/dry-run',
    'sidecar.istio.io/inject',
  ],
} as const;

export function checkLabels({ set }: Analysed): Finding[] {
  return set.objects.flatMap((written) => {
    const { metadata } = written.object;
    return [
      ...entries(metadata.labels).flatMap(([name, value]) => {
        const wrong = valueProblem(value, values[name]);
        if (wrong === undefined)
          return misnamed(name, 'label').map((message) =>
            finding('warning', 'label-unknown', written, labelField(name), message),
          );
        const severity = decisive.includes(name) ? 'error' : 'warning';
        return [finding(severity, 'label-value', written, labelField(name), wrong)];
      }),
      ...entries(metadata.annotations).flatMap(([name, value]) => {
        const wrong = valueProblem(value, annotationValues[name]);
        const field = annotationField(name);
        if (wrong !== undefined) return [finding('warning', 'label-value', written, field, wrong)];
        return misnamed(name, 'annotation').map((message) =>
          finding('warning', 'label-unknown', written, field, message),
        );
      }),
    ];
  });
}

const entries = Object.entries<string>;

function valueProblem(value: string, allowed: readonly string[] | undefined): string | undefined {
  if (allowed === undefined || allowed.includes(value)) return undefined;
  return `is ${JSON.stringify(value)}, which means nothing; ${allowed.join(' or ')} is meant${near(value, allowed)}`;
}

function near(value: string, allowed: readonly string[]): string {
  const best = nearest(value, allowed);
  return best === undefined || allowed.length === 1 ? '' : `, probably ${best}`;
}

function misnamed(name: string, kind: 'label' | 'annotation'): string[] {
  const other = kind === 'label' ? 'annotation' : 'label';
  if ((known[kind] as readonly string[]).includes(name)) return [];
  if ((known[other] as readonly string[]).includes(name)) {
    return [
      `is read as ${other === 'label' ? 'a label' : 'an annotation'} only; as ${kind === 'label' ? 'a label' : 'an annotation'} it means nothing`,
    ];
  }
  const best = nearest(name, known[kind]);
  // What is near one of ours in another domain (istio.oi/...) is a slip as well.
  if (best === undefined || (!meshName.test(name) && !name.includes('/'))) return [];
  return [`is not known; ${best} is probably meant`];
}

function nearest(text: string, words: readonly string[]): string | undefined {
  const near = words
    .map((word) => ({ word, distance: editDistance(text, word) }))
    .filter(({ word, distance }) => distance <= Math.min(3, Math.floor(word.length / 3)))
    .sort((left, right) => left.distance - right.distance);
  return near[0]?.word;
}
