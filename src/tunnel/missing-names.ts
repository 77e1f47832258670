import { dependency } from '../model/diff.ts';
import { type Service, serviceKey } from '../model/service.ts';
import { type MeshSnapshot, networkAddressKey } from '../model/snapshot.ts';

/** So long something that is not there is still asked for, and a refusal for want of it stays: then both are forgotten. */
export const absentMs = 15_000;

/** What begins a dependency key, and whether the mesh has something of the name behind it. */
const kinds: readonly (readonly [prefix: string, has: (mesh: MeshSnapshot, name: string) => boolean])[] = [
  [dependency.workload(''), (mesh, uid) => mesh.workloads.has(uid)],
  [dependency.service(''), (mesh, key) => mesh.services.has(key)],
  [addressPrefix(), (mesh, place) => hasAddress(mesh, place)],
];

/** Names, as on-demand discovery knows them, of what a judgement asked the mesh for and the mesh does not have. */
export function missingNames(mesh: MeshSnapshot, dependencies: readonly string[]): string[] {
  return dependencies.flatMap((key) => {
    const kind = kinds.find(([prefix]) => key.startsWith(prefix));
    if (kind === undefined) return [];
    const [prefix, has] = kind;
    const name = key.slice(prefix.length);
    return has(mesh, name) ? [] : [name];
  });
}

/** Names, as on-demand discovery knows them, of all that a judgement asked the mesh for. */
export function askedNames(dependencies: readonly string[]): string[] {
  return dependencies.flatMap((key) => {
    const kind = kinds.find(([prefix]) => key.startsWith(prefix));
    return kind === undefined ? [] : [key.slice(kind[0].length)];
  });
}

/** Names under which a pod of this node is known: they are asked for as long as it is here. */
export function namesOfPod(mesh: MeshSnapshot, uid: string): string[] {
  const workload = mesh.workloads.get(uid);
  if (workload === undefined) return [uid];
  return [uid, ...workload.addresses.map((address) => networkAddressKey(workload.network, address))];
}

/** What a mesh has that none of the names means: names of workloads and services. */
export function unmeant(
  mesh: MeshSnapshot,
  names: Iterable<string>,
): { readonly workloads: string[]; readonly services: string[] } {
  const workloads = new Set<string>();
  const services = new Set<string>();
  const meanService = (service: Service) => {
    const key = serviceKey(service);
    services.add(key);
    for (const { workload } of mesh.allEndpointsOf(key)) workloads.add(workload.uid);
  };
  for (const name of names) {
    workloads.add(name);
    const service = mesh.services.get(name);
    if (service !== undefined) meanService(service);
    const slash = name.indexOf('/');
    const [network, address] = [name.slice(0, Math.max(0, slash)), name.slice(slash + 1)];
    for (const { uid } of mesh.workloadsAt(network, address)) workloads.add(uid);
    for (const each of mesh.servicesAt(network, address)) meanService(each);
    for (const around of mesh.servicesAround(network, address)) meanService(around.service);
  }
  return {
    workloads: [...mesh.workloads.keys()].filter((uid) => !workloads.has(uid)),
    services: [...mesh.services.keys()].filter((key) => !services.has(key)),
  };
}

/** Whether anything of this name is known: a uid, `namespace/hostname` or `network/address`. */
export function isKnownName(mesh: MeshSnapshot, name: string): boolean {
  return kinds.some(([, has]) => has(mesh, name));
}

function hasAddress(mesh: MeshSnapshot, place: string): boolean {
  const slash = place.indexOf('/');
  const [network, address] = [place.slice(0, slash), place.slice(slash + 1)];
  return mesh.workloadsAt(network, address).length > 0 || mesh.servicesAt(network, address).length > 0;
}

function addressPrefix(): string {
  return dependency.address('', '').slice(0, -1);
}
