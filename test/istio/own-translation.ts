/** What Hadal's own control plane makes of the objects of the same API server. */
import { MeshTranslation } from '../../src/controlplane/mesh-translation.ts';
import type { Port, ServiceMembership } from '../../src/model/workload.ts';
import type { ObjectKind } from '../../src/source/kubernetes/objects.ts';
import { defaultMeshNames } from '../../src/source/translate/context.ts';
import { follow } from '../kubernetes/follower.ts';
import type { Machines } from '../kubernetes/machines.ts';
import { type Named, nameOf } from './agent-client.ts';

const kinds: readonly ObjectKind[] = [
  'Namespace',
  'Node',
  'ServiceAccount',
  'Pod',
  'Service',
  'EndpointSlice',
  'ServiceEntry',
  'WorkloadEntry',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'Gateway',
  'GatewayClass',
];

export async function ownTranslation(machines: Machines): Promise<Named> {
  const follower = follow(machines, { kinds });
  await follower.started;
  const translation = new MeshTranslation(defaultMeshNames);
  translation.apply({
    upserts: [...follower.known].map(([id, object]) => ({ id, object })),
    removals: [],
  });
  translation.work();
  const change = translation.take();
  await follower.close();
  const named = (values: readonly object[]) => new Map(values.map((value) => [nameOf(value), value]));
  return {
    workloads: named(change.workloads.upserts),
    services: named(change.services.upserts),
    policies: named(change.policies.upserts),
  };
}

/** `kind name field: ours | theirs`, for each field that is not the same, in some namespaces. */
export function differences(ours: Named, theirs: Named, namespaces: readonly string[]): string[] {
  const found: string[] = [];
  for (const kind of ['workloads', 'services', 'policies'] as const) {
    const names = new Set([...ours[kind].keys(), ...theirs[kind].keys()]);
    for (const name of [...names].sort()) {
      if (!namespaces.some((each) => `/${name}`.includes(`/${each}/`))) continue;
      const [left, right] = [ours[kind].get(name), theirs[kind].get(name)];
      if (left === undefined || right === undefined) {
        found.push(`${kind} ${name}: ${left === undefined ? 'theirs alone' : 'ours alone'}`);
        continue;
      }
      const [a, b] = [comparable(left), comparable(right)];
      for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
        if (a[field] !== b[field]) found.push(`${kind} ${name} ${field}: ${a[field]} | ${b[field]}`);
      }
    }
  }
  return found;
}

/** Each field as text; what has no order on the wire is sorted. */
function comparable(resource: object): Record<string, string> {
  const { services, ports, ...others } = resource as {
    readonly services?: readonly ServiceMembership[];
    readonly ports?: readonly Port[];
  };
  const fields = {
    ...others,
    // Agents read the protocol of a port from the service; istiod leaves it out of the endpoints.
    services: services?.map((each) => ({ ...each, ports: each.ports.map(numbersOf) })),
    // Names of ports are Hadal's own, and travel beside the resource.
    ports: ports?.map((port) => ({ ...numbersOf(port), appProtocol: port.appProtocol })),
  };
  return Object.fromEntries(Object.entries(fields).map(([field, value]) => [field, sortedText(value)]));
}

function numbersOf({ servicePort, targetPort }: Port): Pick<Port, 'servicePort' | 'targetPort'> {
  return { servicePort, targetPort };
}

function sortedText(value: unknown): string {
  const text = (item: unknown) => JSON.stringify(item) ?? 'undefined';
  return Array.isArray(value) ? `[${value.map(text).sort().join(',')}]` : text(value);
}
