/** What the packets of a probe between two pods of this node say about the way that such connections take. */
import type { NetworkLink, SeenPacket } from '../native/types.ts';
import { type SameNodePath, unknownPath } from '../routing/same-node-path.ts';

export interface ProbeFacts {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  /** Nobody listens there; the namespace's own refusal is the answer. */
  readonly port: number;
  readonly seen: {
    readonly node: readonly SeenPacket[];
    readonly sourcePod: readonly SeenPacket[];
    readonly destinationPod: readonly SeenPacket[];
  };
  readonly links: readonly NetworkLink[];
  /** Indexes of the node's ends of the interfaces of all pods that the agent carries. */
  readonly podEnds: ReadonlySet<number>;
}

/** It stays only where that was seen: no packet elsewhere is no proof, since the host does not see every kind of interface. */
export function judgePath(facts: ProbeFacts): SameNodePath {
  const { source, destination, port, seen } = facts;
  const probe = `a probe from ${source} to ${destination}`;
  const arrived = seen.destinationPod.find((packet) => !packet.outgoing && packet.destinationPort === port);
  if (arrived !== undefined && (arrived.source !== source || arrived.sourcePort !== facts.sourcePort))
    return translated(facts, arrived, probe);
  const inside = insideIndexes(facts);
  const outside = seen.node.find(({ interfaceIndex }) => !inside.has(interfaceIndex));
  if (outside !== undefined) {
    const interfaceName = nameOf(facts, outside.interfaceIndex);
    return leaves(`${probe} was seen on ${interfaceName}, which is no pod's interface`, interfaceName);
  }
  if (arrived === undefined) return unknownPath(`${probe} did not arrive; does a NetworkPolicy stop it?`);
  if (!seen.sourcePod.some((packet) => !packet.outgoing && packet.source === destination))
    return unknownPath(`the answer to ${probe} did not arrive; does a NetworkPolicy stop it?`);
  if (seen.node.length === 0)
    return unknownPath(
      `${probe} arrived, and the node saw it on none of its interfaces: which way it took is hidden from it`,
    );
  return Object.freeze({ state: 'stays', reason: '' });
}

function translated(facts: ProbeFacts, arrived: SeenPacket, probe: string): SameNodePath {
  const inside = insideIndexes(facts);
  const outside = facts.seen.node.find(({ interfaceIndex }) => !inside.has(interfaceIndex));
  const from = `${arrived.source} port ${arrived.sourcePort}`;
  return leaves(
    `${probe} arrived from ${from}: the network translates addresses between pods of this node`,
    outside && nameOf(facts, outside.interfaceIndex),
  );
}

/** The pods' own interfaces, and bridges that join nothing else. */
function insideIndexes({ links, podEnds }: ProbeFacts): ReadonlySet<number> {
  const bridges = links.filter(({ index, kind }) => {
    const ports = links.filter(({ master }) => master === index);
    return kind === 'bridge' && ports.length > 0 && ports.every((port) => podEnds.has(port.index));
  });
  return new Set([...podEnds, ...bridges.map(({ index }) => index)]);
}

function nameOf({ links }: ProbeFacts, wanted: number): string {
  return links.find(({ index }) => index === wanted)?.name ?? `interface ${wanted}`;
}

function leaves(reason: string, interfaceName: string | undefined): SameNodePath {
  return Object.freeze({ state: 'leaves', reason, ...(interfaceName !== undefined && { interfaceName }) });
}

/** Of several probes: one that left decides, then one of which nothing is known. */
export function worstOf(paths: readonly SameNodePath[]): SameNodePath {
  const [first] = paths;
  return (
    paths.find(({ state }) => state === 'leaves') ??
    paths.find(({ state }) => state === 'unknown') ??
    first ??
    unknownPath('no probe was made')
  );
}
