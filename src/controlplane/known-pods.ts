/** The pods of the source, as the authority asks for them before it signs. */
import type { KnownPod, PodView } from '../identity/pod-view.ts';
import { knownPod } from '../source/api-server/live-pods.ts';
import type { PodObject } from '../source/kubernetes/pod.ts';
import type { ClusterIndex } from '../source/translate/view.ts';
import type { ObjectStore } from './object-store.ts';

const podsByServiceAccount: ClusterIndex<'Pod'> = {
  name: 'pods by service account',
  kind: 'Pod',
  keysOf: ({ metadata, spec }) => [`${metadata.namespace}/${spec.serviceAccountName}`],
};

export function knownPods(objects: ObjectStore): PodView {
  const view = objects.view(() => {});
  const known = (pod: PodObject): KnownPod =>
    knownPod(pod, view.get('Namespace', '', pod.metadata.namespace), view.names.enrolment);
  return {
    pod: (namespace, name) => {
      const pod = view.get('Pod', namespace, name);
      return pod === undefined ? undefined : known(pod);
    },
    podsOf: (namespace, serviceAccount) =>
      view.indexed(podsByServiceAccount, `${namespace}/${serviceAccount}`).map(known),
  };
}
