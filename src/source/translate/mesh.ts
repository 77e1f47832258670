/** Typed objects of a cluster into the resources of the mesh. Pure: the same objects give the same mesh. */
import type { MeshResources } from '../../model/snapshot.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import type { KnownObject } from '../kubernetes/objects.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import type { ServiceAccountObject } from '../kubernetes/service-account.ts';
import { defaultMeshNames, type MeshNames } from './context.ts';
import { translateService } from './service.ts';
import { translatePod } from './workload.ts';

/** The objects by kind; namespaces by name. */
export interface ClusterObjects {
  readonly namespaces: ReadonlyMap<string, NamespaceObject>;
  readonly serviceAccounts: readonly ServiceAccountObject[];
  readonly pods: readonly PodObject[];
  readonly services: readonly ServiceObject[];
}

export function clusterObjects(objects: readonly KnownObject[]): ClusterObjects {
  const of = <K extends KnownObject['kind']>(kind: K) =>
    objects.filter((object): object is Extract<KnownObject, { kind: K }> => object.kind === kind);
  return {
    namespaces: new Map(of('Namespace').map((namespace) => [namespace.metadata.name, namespace])),
    serviceAccounts: of('ServiceAccount'),
    pods: of('Pod'),
    services: of('Service'),
  };
}

export function translateMesh(objects: ClusterObjects, names: MeshNames = defaultMeshNames): MeshResources {
  return {
    workloads: objects.pods
      .map((pod) =>
        translatePod(pod, objects.namespaces.get(pod.metadata.namespace), objects.services, names),
      )
      .filter((workload) => workload !== undefined),
    services: objects.services
      .map((service) => translateService(service, objects.namespaces.get(service.metadata.namespace), names))
      .filter((service) => service !== undefined),
    policies: [],
  };
}
