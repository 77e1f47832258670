/** Pods of this node with their connections, in the names that `istioctl ztunnel-config connections` reads. */
import type { StoredPod } from '../enrolment/pod-store.ts';
import { formatAuthority } from '../model/authority.ts';
import type { ConnectionEntry } from '../telemetry/connection-entry.ts';

export interface PodOnNode {
  readonly stored: Pick<StoredPod, 'uid' | 'name' | 'namespace' | 'serviceAccount'>;
  /** In the words of ztunnel. */
  readonly state: 'Up' | 'Draining' | 'Pending';
}

interface DumpedConnection {
  readonly src: string;
  readonly originalDst: string;
  readonly actualDst: string;
  readonly protocol: 'HBONE' | 'TCP';
}

/** By the pod's uid. `connections` are live ones. */
export function dumpWorkloadState(
  pods: readonly PodOnNode[],
  connections: readonly ConnectionEntry[],
  trustDomain: string,
): Record<string, unknown> {
  const entries = pods.map(({ stored: { uid, name, namespace, serviceAccount }, state }) => {
    const own = connections.filter(({ pod }) => pod === `${namespace}/${name}`);
    const of = (direction: ConnectionEntry['direction']) =>
      own.filter((connection) => connection.direction === direction).map(dumpConnection);
    const dumped = {
      state,
      connections: { inbound: of('inbound'), outbound: of('outbound') },
      info: { name, namespace, trustDomain, serviceAccount },
    };
    return [uid, dumped] as const;
  });
  return Object.fromEntries(entries);
}

function dumpConnection({ source, destination, endpoint, path }: ConnectionEntry): DumpedConnection {
  const dialled = formatAuthority(destination.address, destination.port);
  return {
    src: formatAuthority(source.address, source.port),
    originalDst: dialled,
    // What the kernel left alone went where it was dialled to; istioctl prints an empty column where there is none.
    actualDst: endpoint === undefined ? dialled : formatAuthority(endpoint.address, endpoint.port),
    protocol: path === 'tunnel' ? 'HBONE' : 'TCP',
  };
}
