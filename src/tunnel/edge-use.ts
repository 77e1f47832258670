import { type EdgeCounters, edgeColumns } from '../native/types.ts';

interface Use {
  readonly sum: number;
  readonly isOpen: boolean;
  /** Since when the sum is this one. */
  readonly since: number;
}

const columns = edgeColumns.length;
const opened = edgeColumns.indexOf('opened');
const closed = edgeColumns.indexOf('closed');

/** Since when nothing has used an edge, as far as its counters tell. */
export class EdgeUse {
  #uses = new Map<number, Use>();
  #now = 0;

  /** Reads the counters anew, of all who count. */
  update(counters: readonly EdgeCounters[], now: number): void {
    const next = new Map<number, Use>();
    for (const [edge, { sum, open }] of sumUp(counters)) {
      const before = this.#uses.get(edge);
      const since = before?.sum === sum ? before.since : now;
      next.set(edge, { sum, isOpen: open > 0, since });
    }
    // Rows whose edge nobody has counted yet have an age too.
    for (const [edge, use] of this.#uses) if (use.sum === 0 && !next.has(edge)) next.set(edge, use);
    this.#uses = next;
    this.#now = now;
  }

  /** No connection is open on it, and none was for so long. */
  isIdle(edge: number, forMs: number): boolean {
    const use = this.#uses.get(edge);
    if (use === undefined) this.#uses.set(edge, { sum: 0, isOpen: false, since: this.#now });
    return use !== undefined && !use.isOpen && this.#now - use.since >= forMs;
  }
}

function sumUp(counters: readonly EdgeCounters[]): Map<number, { sum: number; open: number }> {
  const sums = new Map<number, { sum: number; open: number }>();
  for (const { edges, values } of counters) {
    edges.forEach((edge, index) => {
      const row = values.subarray(index * columns, (index + 1) * columns);
      const known = sums.get(edge) ?? { sum: 0, open: 0 };
      known.sum += row.reduce((total, value) => total + value, 0);
      known.open += (row[opened] ?? 0) - (row[closed] ?? 0);
      sums.set(edge, known);
    });
  }
  return sums;
}
