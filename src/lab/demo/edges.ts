/** Who talked to whom: the connections that both agents report, summed by pair of workloads and path. */
import type { ConnectionEntry, ConnectionParty } from '../../telemetry/connection-entry.ts';

export interface Edge {
  readonly source: string;
  readonly destination: string;
  readonly path: ConnectionEntry['path'];
  readonly connections: number;
  readonly refused: number;
  /** Why, each reason once. */
  readonly refusals: readonly string[];
  /** Source to destination, and back; as the side reports that saw it first. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** The source's identity as the destination's agent verified it, and the other way round; '' when nobody did. */
  readonly sourceIdentity: string;
  readonly destinationIdentity: string;
  /** How many connections the destination's agent reports, when it saw them too. */
  readonly seenByDestination: number;
}

interface Sum {
  source: string;
  destination: string;
  path: ConnectionEntry['path'];
  outbound: Side;
  inbound: Side;
  sourceIdentity: string;
  destinationIdentity: string;
  refusals: Set<string>;
}

interface Side {
  connections: number;
  refused: number;
  sent: number;
  received: number;
}

/** `nameOf`: the name for an address that no workload of the mesh has. */
export function sumEdges(entries: readonly ConnectionEntry[], nameOf: (address: string) => string): Edge[] {
  const sums = new Map<string, Sum>();
  for (const entry of entries) {
    // A service's address stands for the pod that answered; the two agents must mean the same thing by an edge.
    const source = partyName(entry.source, nameOf);
    const destination = partyName(entry.destination, nameOf, entry.endpoint?.address);
    const key = `${source} ${destination} ${entry.path}`;
    const sum = sums.get(key) ?? emptySum(source, destination, entry.path);
    sums.set(key, sum);
    const side = entry.direction === 'outbound' ? sum.outbound : sum.inbound;
    if (entry.state !== 'refused') side.connections++;
    else {
      side.refused++;
      sum.refusals.add(entry.reasonText ?? entry.reason);
    }
    side.sent += entry.bytesSent;
    side.received += entry.bytesReceived;
    // Each agent vouches for the other end's identity: that is the one it checked.
    if (entry.direction === 'outbound') sum.destinationIdentity ||= entry.destination.identity ?? '';
    else sum.sourceIdentity ||= entry.source.identity ?? '';
  }
  return [...sums.values()].map(edgeOf).sort(byName);
}

function edgeOf(sum: Sum): Edge {
  const seen = sum.outbound.connections + sum.outbound.refused > 0 ? sum.outbound : sum.inbound;
  return {
    source: sum.source,
    destination: sum.destination,
    path: sum.path,
    connections: seen.connections,
    refused: seen.refused,
    refusals: [...sum.refusals],
    bytesSent: seen.sent,
    bytesReceived: seen.received,
    sourceIdentity: sum.sourceIdentity,
    destinationIdentity: sum.destinationIdentity,
    seenByDestination: sum.inbound.connections,
  };
}

function partyName(party: ConnectionParty, nameOf: (address: string) => string, endpoint?: string): string {
  return party.workload ?? nameOf(endpoint === undefined || endpoint === '' ? party.address : endpoint);
}

function emptySum(source: string, destination: string, path: ConnectionEntry['path']): Sum {
  const side = () => ({ connections: 0, refused: 0, sent: 0, received: 0 });
  return {
    source,
    destination,
    path,
    outbound: side(),
    inbound: side(),
    sourceIdentity: '',
    destinationIdentity: '',
    refusals: new Set(),
  };
}

function byName(one: Edge, other: Edge): number {
  return `${one.source} ${one.destination}`.localeCompare(`${other.source} ${other.destination}`);
}
