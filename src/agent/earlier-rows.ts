/** What an earlier agent left of connections between pods of this node: its rows, and the numbers under which they count. */
import type { BpfCapture } from '../kernel/capture.ts';
import type { EarlierRow } from '../tunnel/kernel-rows.ts';
import type { DataPath } from './parts.ts';

/** So long the earlier agent's word counts that such connections stay in the node; a probe takes a fraction of a second. */
const probeWaitMs = 15_000;

/** No number that anything in the kernel still counts under is given to anybody else. */
export function highestEdge(capture: BpfCapture): number {
  const { untouched, refused } = capture.readCounters();
  const ofRows = capture
    .directRows()
    .flatMap(({ slots }) =>
      slots.flatMap((slot) => (slot.kind === 'direct' ? [slot.edge, slot.inboundEdge] : [])),
    );
  return [...untouched, ...refused]
    .map(({ edge }) => edge)
    .concat(ofRows)
    .reduce((most, edge) => Math.max(most, edge), 0);
}

/** Once the pods of before are carried again, and the mesh of before is known. */
export function adoptEarlierRows(
  { kernel, edges, tunnel, sameNode }: Pick<DataPath, 'kernel' | 'edges' | 'tunnel' | 'sameNode'>,
  earlier: readonly EarlierRow[],
): void {
  if (earlier.length === 0) return;
  if (sameNode.state === 'unknown') {
    tunnel.setSameNodePath('stays');
    const probed = setTimeout(() => tunnel.setSameNodePath(sameNode.state), probeWaitMs);
    probed.unref();
  }
  tunnel.adoptRows(earlier);
  const { capture } = kernel;
  const unknown = capture.readCounters().untouched.filter(({ edge }) => edge !== 0 && !edges.labels(edge));
  capture.removeEdges([...new Set(unknown.map(({ edge }) => edge))]);
}
