import { dependency } from '../model/diff.ts';
import type { MeshSnapshot } from '../model/snapshot.ts';

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
