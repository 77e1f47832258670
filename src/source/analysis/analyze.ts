/** Everything that can be said about manifests without a cluster, in the order of files and lines. */
import { asRunning } from '../offline/as-running.ts';
import type { ManifestSet } from '../offline/manifest-set.ts';
import { defaultMeshNames, type MeshNames } from '../translate/context.ts';
import { labelField, labels } from '../translate/label-names.ts';
import { translateObjects } from '../translate/mesh.ts';
import { viewOf } from '../translate/object-view.ts';
import { policyConditions } from '../translate/policy-conditions.ts';
import { checkBypassed } from './bypassed.ts';
import { checkCarried } from './carried.ts';
import { type Analysed, type Finding, finding, writtenOf } from './finding.ts';
import { checkLabels } from './label-words.ts';
import { checkPorts } from './ports.ts';
import { checkReferences } from './references.ts';
import { checkSelectors } from './selectors.ts';

const checks = [
  checkReferences,
  checkSelectors,
  checkPorts,
  checkLabels,
  checkCarried,
  checkBypassed,
  conditions,
  otherwise,
];

export function analyzeManifests(set: ManifestSet, names: MeshNames = defaultMeshNames): Finding[] {
  const analysed = { set, view: viewOf(asRunning(set.objects.map(({ object }) => object)), names) };
  const found = [...rejected(analysed), ...checks.flatMap((check) => check(analysed))];
  return [...once(found)].sort(
    (left, right) =>
      compare(left.file, right.file) || left.line - right.line || compare(left.field, right.field),
  );
}

function rejected({ set }: Analysed): Finding[] {
  return set.rejections.map(({ origin, object, field, reason }) => ({
    severity: 'error',
    code: 'rejected',
    file: origin.file,
    line: origin.line,
    object,
    field,
    message: reason,
  }));
}

/** Policies that agents or waypoints take otherwise than they are written. */
function conditions({ set, view }: Analysed): Finding[] {
  return writtenOf(set, 'AuthorizationPolicy').flatMap((written) =>
    policyConditions(written.object, view)
      .filter(({ reason }) => reason !== 'Accepted')
      .map(({ isTrue, field, message }) =>
        isTrue
          ? finding('warning', 'policy-stricter', written, field, message)
          : finding('error', 'policy-not-enforced', written, field, message),
      ),
  );
}

/** What the translation itself warns of, where no check above says it better. */
function otherwise({ set, view }: Analysed): Finding[] {
  const written = new Map(set.objects.map((each) => [each.id, each]));
  const { warnings } = translateObjects(asRunning(set.objects.map(({ object }) => object)), view.names);
  return warnings.flatMap(({ object, field, reason }) => {
    const about = written.get(object);
    if (about === undefined || about.object.kind === 'AuthorizationPolicy') return [];
    const { namespace, labels: own } = about.object.metadata;
    // Said of everything in a namespace whose label it is: said once, of the namespace.
    const isInherited = field === labelField(labels.useWaypoint) && own[labels.useWaypoint] === undefined;
    const source = isInherited ? (written.get(`v1/Namespace/${namespace}`) ?? about) : about;
    return [finding('warning', 'taken-otherwise', source, field, reason)];
  });
}

/** One word per field: the first check that found something there. */
function* once(found: readonly Finding[]): Generator<Finding> {
  const told = new Set<string>();
  for (const each of found) {
    const key = `${each.file} ${each.line} ${each.object} ${each.field}`;
    if (each.code === 'taken-otherwise' && told.has(key)) continue;
    told.add(key);
    yield each;
  }
}

function compare(left: string, right: string): number {
  return left < right ? -1 : Number(left > right);
}
