/** Connections that the kernel carries between two pods of the node, in the form of the tunnel's counters: both count by edge. */
import { directReasons, type UntouchedCount } from '../kernel/counters.ts';
import { reasons } from '../model/reasons.gen.ts';
import { type EdgeCounters, edgeColumns } from '../native/types.ts';

/** Whether it is counted under an edge; what the capture left alone is not. */
export function isDirect({ edge, reason }: Pick<UntouchedCount, 'edge' | 'reason'>): boolean {
  return edge !== 0 && directReasons.has(reason);
}

export function directCounters(counts: readonly UntouchedCount[]): EdgeCounters {
  const direct = counts.filter(isDirect);
  const values = new Float64Array(direct.length * edgeColumns.length);
  direct.forEach((count, index) => {
    edgeColumns.forEach((column, at) => {
      values[index * edgeColumns.length + at] = count[column];
    });
  });
  return {
    edges: Uint32Array.from(direct, ({ edge }) => edge),
    values,
    failures: Float64Array.from(
      direct.flatMap(({ edge, failed }) => (failed > 0 ? [edge, reasons.CONNECT_FAILED, failed] : [])),
    ),
  };
}
