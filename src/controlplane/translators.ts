/** Which kinds become resources of the mesh, and how. */
import type { MeshResources } from '../model/snapshot.ts';
import type { KnownObject, ObjectKind, ObjectKinds } from '../source/kubernetes/objects.ts';
import { translateService } from '../source/translate/service.ts';
import type { ClusterView } from '../source/translate/view.ts';
import { translatePod } from '../source/translate/workload.ts';

/** One object into resources. Pure, and everything else it needs it sees through the view. */
export type Translator<T> = (object: T, view: ClusterView) => Partial<MeshResources>;

export type Translators = { readonly [K in ObjectKind]?: Translator<ObjectKinds[K]> };

export const meshTranslators: Translators = {
  Pod: (pod, view) => {
    const { namespace } = pod.metadata;
    const within = view.get('Namespace', '', namespace);
    const workload = translatePod(pod, within, view.list('Service', namespace), view.names);
    return workload === undefined ? {} : { workloads: [workload] };
  },
  Service: (service, view) => {
    const within = view.get('Namespace', '', service.metadata.namespace);
    const translated = translateService(service, within, view.names);
    return translated === undefined ? {} : { services: [translated] };
  },
};

export function translatorOf(
  translators: Translators,
  kind: ObjectKind,
): Translator<KnownObject> | undefined {
  return translators[kind] as Translator<KnownObject> | undefined;
}
