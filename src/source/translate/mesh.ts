/** Typed objects of a cluster into the resources of the mesh, all at once. Pure: the same objects give the same mesh. */
import { policyKey } from '../../model/authorization.ts';
import { serviceKey } from '../../model/service.ts';
import type { MeshResources } from '../../model/snapshot.ts';
import type { NamespaceObject } from '../kubernetes/namespace.ts';
import { type KnownObject, objectId } from '../kubernetes/objects.ts';
import type { PodObject } from '../kubernetes/pod.ts';
import type { ServiceObject } from '../kubernetes/service.ts';
import type { ServiceAccountObject } from '../kubernetes/service-account.ts';
import { defaultMeshNames, type MeshNames } from './context.ts';
import { viewOf } from './object-view.ts';
import { comparePrecedence } from './precedence.ts';
import type { TranslatedResources } from './resources.ts';
import { translateObject } from './translators.ts';

/** The objects by kind; namespaces by name. */
export interface ClusterObjects {
  readonly namespaces: ReadonlyMap<string, NamespaceObject>;
  readonly serviceAccounts: readonly ServiceAccountObject[];
  readonly pods: readonly PodObject[];
  readonly services: readonly ServiceObject[];
  /** Of all other kinds. */
  readonly rest: readonly KnownObject[];
}

const named = ['Namespace', 'ServiceAccount', 'Pod', 'Service'];

export function clusterObjects(objects: readonly KnownObject[]): ClusterObjects {
  const of = <K extends KnownObject['kind']>(kind: K) =>
    objects.filter((object): object is Extract<KnownObject, { kind: K }> => object.kind === kind);
  return {
    namespaces: new Map(of('Namespace').map((namespace) => [namespace.metadata.name, namespace])),
    serviceAccounts: of('ServiceAccount'),
    pods: of('Pod'),
    services: of('Service'),
    rest: objects.filter(({ kind }) => !named.includes(kind)),
  };
}

export function translateMesh(objects: ClusterObjects, names: MeshNames = defaultMeshNames): MeshResources {
  const { workloads, services, policies } = translateObjects(allObjects(objects), names);
  return { workloads, services, policies };
}

/** The same with warnings and aliases. Where two objects give one name, the one that goes first has it. */
export function translateObjects(
  objects: readonly KnownObject[],
  names: MeshNames = defaultMeshNames,
): TranslatedResources {
  const view = viewOf(objects, names);
  const owners = objects.map((object) => ({
    object,
    id: objectId(object),
    createdAt: object.metadata.creationTimestamp,
  }));
  const each = owners.sort(comparePrecedence).map(({ object }) => translateObject(object, view));
  return {
    workloads: firstOfEach(
      each.flatMap(({ workloads }) => workloads),
      ({ uid }) => uid,
    ),
    services: firstOfEach(
      each.flatMap(({ services }) => services),
      serviceKey,
    ),
    policies: firstOfEach(
      each.flatMap(({ policies }) => policies),
      policyKey,
    ),
    aliases: each.flatMap(({ aliases }) => aliases),
    warnings: each.flatMap(({ warnings }) => warnings),
  };
}

function firstOfEach<T>(resources: readonly T[], nameOf: (resource: T) => string): readonly T[] {
  const first = new Map<string, T>();
  for (const resource of resources) if (!first.has(nameOf(resource))) first.set(nameOf(resource), resource);
  return [...first.values()];
}

function allObjects({ namespaces, serviceAccounts, pods, services, rest }: ClusterObjects): KnownObject[] {
  return [...namespaces.values(), ...serviceAccounts, ...pods, ...services, ...rest];
}
