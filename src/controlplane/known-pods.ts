/** The pods of the source, as the authority asks for them before it signs. */
import type { KnownPod, PodView } from '../identity/pod-view.ts';
import { isTerminal, type PodObject } from '../source/kubernetes/pod.ts';
import { enrolmentWish } from '../source/translate/enrolment.ts';
import type { ClusterIndex } from '../source/translate/view.ts';
import type { ObjectStore } from './object-store.ts';

const podsByServiceAccount: ClusterIndex<'Pod'> = {
  name: 'pods by service account',
  kind: 'Pod',
  keysOf: ({ metadata, spec }) => [`${metadata.namespace}/${spec.serviceAccountName}`],
};

export function knownPods(objects: ObjectStore): PodView {
  const view = objects.view(() => {});
  const known = (pod: PodObject): KnownPod => {
    const { namespace, name, uid } = pod.metadata;
    const { wanted } = enrolmentWish(pod, view.get('Namespace', '', namespace), view.names.enrolment);
    const { nodeName: node, serviceAccountName: serviceAccount } = pod.spec;
    return { namespace, name, uid, node, serviceAccount, terminal: isTerminal(pod), enrolled: wanted };
  };
  return {
    pod: (namespace, name) => {
      const pod = view.get('Pod', namespace, name);
      return pod === undefined ? undefined : known(pod);
    },
    podsOf: (namespace, serviceAccount) =>
      view.indexed(podsByServiceAccount, `${namespace}/${serviceAccount}`).map(known),
  };
}
