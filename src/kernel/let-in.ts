/**
 * Lets one connection past the listeners of its destination's namespace, as the kernel does for those of the same-node path:
 * so that a probe meets neither policy nor agent.
 */
import type { Authorization, Tuple } from './authorized-tuples.ts';
import type { CaptureMaps } from './capture-maps.ts';

/** Of a probe: it belongs to no edge. */
const noEdge = 0;

/** The function returned takes it back. */
export function letIn(
  { authorized }: CaptureMaps,
  tuple: Tuple,
  ends: Pick<Authorization, 'sourcePodIndex' | 'destinationPodIndex'>,
): () => void {
  authorized.set(tuple, {
    ...ends,
    inboundEdge: noEdge,
    seen: 0,
    openedNs: 0n,
    acceptedCookie: 0n,
    endReason: 0,
  });
  return () => void authorized.delete(tuple);
}

/** What an agent has let in that ended before it took it back: no socket's end does it. The kernel's own say when they were opened. */
export function sweepLetIn({ authorized }: CaptureMaps): void {
  const left = authorized.entries().filter(([, { openedNs }]) => openedNs === 0n);
  authorized.deleteAll(left.map(([tuple]) => tuple));
}
