import { describeRejection } from '../source/kubernetes/objects.ts';
import { asRunning } from '../source/offline/as-running.ts';
import { readManifestSet } from '../source/offline/manifest-set.ts';
import { enrolmentReport } from '../source/translate/enrolment.ts';
import { viewOf } from '../source/translate/object-view.ts';
import type { ObjectsReport } from './plane-status.ts';

/** Which pods of the manifests would be in the mesh. */
export function reportDirectory(directory: string): ObjectsReport {
  const { objects, rejections } = readManifestSet(directory);
  const running = asRunning(objects.map(({ object }) => object));
  const view = viewOf(running);
  const pods = running.flatMap((object) =>
    object.kind === 'Pod'
      ? [enrolmentReport(object, view.get('Namespace', '', object.metadata.namespace), view.names.enrolment)]
      : [],
  );
  return {
    pods: pods.map(({ namespace, pod: name, node, state, detail }) => ({
      namespace,
      name,
      node,
      state,
      detail,
    })),
    rejected: rejections.map(describeRejection),
  };
}
