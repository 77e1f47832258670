/**
 * One connection between two pods of this node, made by the agent in their namespaces, and watched. It goes to a port at which
 * nobody listens and past the listeners of the agent, so what answers is the destination's namespace itself: neither policy nor
 * an application has a part in it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CaptureMaps } from '../kernel/capture-maps.ts';
import { letIn } from '../kernel/let-in.ts';
import type { NativeNet, NativePackets, PacketWatch, SeenPacket } from '../native/types.ts';
import type { SameNodePath } from '../routing/same-node-path.ts';
import { judgePath } from './path-verdict.ts';

export interface ProbedPod {
  readonly podIndex: number;
  readonly netnsFd: number;
  readonly addresses: readonly string[];
}

export interface ProbeParts {
  readonly native: Pick<NativeNet, 'openPodSocket' | 'closeFd'> & NativePackets;
  readonly maps: CaptureMaps;
  readonly exemptMapFd: number;
  readonly nodeNetnsFd: number;
  /** All that the agent carries. */
  readonly pods: () => readonly ProbedPod[];
}

export interface ProbeEnds {
  readonly from: ProbedPod;
  readonly to: ProbedPod;
  readonly source: string;
  readonly destination: string;
}

/** The first SYN and the second, which the kernel sends after a second. */
const answerTimeoutMs = 1_500;
const lookIntervalMs = 5;

/** What one step opened is closed after the last, whatever happened. */
type Closing = (() => void)[];

export async function probePath(parts: ProbeParts, ends: ProbeEnds): Promise<SameNodePath> {
  const closing: Closing = [];
  try {
    return await probe(parts, ends, closing);
  } finally {
    for (const close of closing.reverse()) close();
  }
}

async function probe(parts: ProbeParts, ends: ProbeEnds, closing: Closing): Promise<SameNodePath> {
  const { native, maps, nodeNetnsFd } = parts;
  const { from, to, source, destination } = ends;
  // Bound and not listening: nobody else gets the port meanwhile.
  const port = open(parts, to.netnsFd, destination, 0, closing).port;
  const watches = {
    node: watch(parts, nodeNetnsFd, port, closing),
    sourcePod: watch(parts, from.netnsFd, port, closing),
    destinationPod: watch(parts, to.netnsFd, port, closing),
  };
  const sourcePort = freePort(parts, from.netnsFd, source);
  const tuple = { client: source, server: destination, clientPort: sourcePort, serverPort: port };
  closing.push(letIn(maps, tuple, { sourcePodIndex: from.podIndex, destinationPodIndex: to.podIndex }));
  open(parts, from.netnsFd, source, sourcePort, closing, { address: destination, port });
  const seen = await watched(watches, destination);
  const podEnds = parts.pods().flatMap((pod) => native.linkEnds(pod.netnsFd, nodeNetnsFd));
  const links = native.links(nodeNetnsFd);
  return judgePath({ source, sourcePort, destination, port, seen, links, podEnds: new Set(podEnds) });
}

async function watched(
  watches: Readonly<Record<'node' | 'sourcePod' | 'destinationPod', PacketWatch>>,
  destination: string,
) {
  const seen = {
    node: [] as SeenPacket[],
    sourcePod: [] as SeenPacket[],
    destinationPod: [] as SeenPacket[],
  };
  const look = () => {
    seen.node.push(...watches.node.read());
    seen.sourcePod.push(...watches.sourcePod.read());
    seen.destinationPod.push(...watches.destinationPod.read());
  };
  const answered = () => seen.sourcePod.some((packet) => !packet.outgoing && packet.source === destination);
  for (const end = performance.now() + answerTimeoutMs; performance.now() < end && !answered(); ) {
    await sleep(lookIntervalMs);
    look();
  }
  return seen;
}

function open(
  { native, exemptMapFd }: ProbeParts,
  netnsFd: number,
  address: string,
  port: number,
  closing: Closing,
  remote?: { readonly address: string; readonly port: number },
): { readonly port: number } {
  const opened = native.openPodSocket(netnsFd, {
    udp: false,
    family: address.includes(':') ? 6 : 4,
    local: { address, port },
    ...(remote !== undefined && { remote }),
    exemptMapFd,
  });
  closing.push(() => native.closeFd(opened.fd));
  return opened;
}

/** Known before it is connected from: its tuple must stand before the SYN goes. */
function freePort(parts: ProbeParts, netnsFd: number, address: string): number {
  const closing: Closing = [];
  const { port } = open(parts, netnsFd, address, 0, closing);
  for (const close of closing) close();
  return port;
}

function watch({ native }: ProbeParts, netnsFd: number, port: number, closing: Closing): PacketWatch {
  const opened = native.watchPackets(netnsFd, port);
  closing.push(() => opened.close());
  return opened;
}
