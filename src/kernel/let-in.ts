/**
 * Lets one connection past the listeners of its destination's namespace, as the kernel does for those of the same-node path:
 * so that a probe meets neither policy nor agent.
 */
import type { Authorization, CaptureMaps, Tuple } from './capture-maps.ts';

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

/** What an agent has let in that ended before it took it back: no socket's end does it. */
export function sweepLetIn(maps: CaptureMaps): void {
  forgetAuthorized(maps, (_, { inboundEdge }) => inboundEdge === noEdge);
}

/** Connections of the same-node path that have passed their lookup go on. */
export function forgetAuthorized(
  { authorized }: CaptureMaps,
  isGone: (tuple: Tuple, authorization: Authorization) => boolean,
): void {
  const gone = authorized.entries().filter(([tuple, authorization]) => isGone(tuple, authorization));
  authorized.deleteAll(gone.map(([tuple]) => tuple));
}
