/**
 * Numbers for sets of labels. Rows name an edge, native and BPF count per edge, and only here its number has a meaning. Equal
 * labels share a number; a number is never used again, so late flow records and counters cannot be taken for another edge's.
 */
import type { EdgeCounters } from '../native/types.ts';
import { edgeColumns } from '../native/types.ts';
import { type TrafficLabels, trafficLabelNames } from '../routing/labels.ts';
import type { EdgeAllotter } from '../tunnel/rows.ts';

export interface EdgeRegistryOptions {
  /** Series of one metric. Beyond it new edges count as `overflowEdge`. Default 20,000. */
  readonly maxEdges?: number;
  /** An edge without rows and traffic is forgotten after this. Default 15 minutes. */
  readonly idleMs?: number;
  /** Labels of forgotten edges that flow records may still name. Default 4,096. */
  readonly maxForgotten?: number;
  readonly now?: () => number;
}

/** Counts what no other edge has room for; its labels are all `unknown`. */
export const overflowEdge = 0;

interface Edge {
  readonly number: number;
  readonly labels: TrafficLabels;
  readonly key: string;
  /** Rows that name it. */
  rows: number;
  /** Sum of its counters when last swept: a change means traffic. */
  lastSum: number;
  quietSince: number;
}

const columns = edgeColumns.length;
const opened = edgeColumns.indexOf('opened');
const closed = edgeColumns.indexOf('closed');

export class EdgeRegistry implements EdgeAllotter {
  readonly #options: Required<EdgeRegistryOptions>;
  readonly #byKey = new Map<string, Edge>();
  readonly #byNumber = new Map<number, Edge>();
  readonly #forgotten = new Map<number, TrafficLabels>();
  #last = overflowEdge;
  #overflowed = 0;

  constructor(options: EdgeRegistryOptions = {}) {
    this.#options = { maxEdges: 20_000, idleMs: 900_000, maxForgotten: 4_096, now: Date.now, ...options };
  }

  get size(): number {
    return this.#byNumber.size;
  }

  /** How often an edge got no number of its own. */
  get overflowed(): number {
    return this.#overflowed;
  }

  allot(labels: TrafficLabels): number {
    const key = edgeKey(labels);
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      known.rows += 1;
      return known.number;
    }
    if (this.#byNumber.size >= this.#options.maxEdges) {
      this.#overflowed += 1;
      return overflowEdge;
    }
    this.#last += 1;
    const edge: Edge = {
      number: this.#last,
      labels: Object.freeze({ ...labels }),
      key,
      rows: 1,
      lastSum: 0,
      quietSince: this.#options.now(),
    };
    this.#byKey.set(key, edge);
    this.#byNumber.set(edge.number, edge);
    return edge.number;
  }

  release(number: number): void {
    const edge = this.#byNumber.get(number);
    if (edge === undefined || edge.rows === 0) return;
    edge.rows -= 1;
    if (edge.rows === 0) edge.quietSince = this.#options.now();
  }

  /** Labels of an edge, for a while also of one that is forgotten. */
  labels(number: number): TrafficLabels | undefined {
    return this.#byNumber.get(number)?.labels ?? this.#forgotten.get(number);
  }

  /** The same without the forgotten: what an edge's counters may be shown under. */
  countedLabels(number: number): TrafficLabels | undefined {
    return this.#byNumber.get(number)?.labels;
  }

  /**
   * Forgets edges that no row names, no connection uses and that had no traffic for a while; at nine tenths of the room, those
   * without traffic since the last sweep. Returns their numbers, so that native forgets them too.
   */
  sweep(counters: readonly EdgeCounters[]): number[] {
    const now = this.#options.now();
    const tight = this.#byNumber.size >= this.#options.maxEdges * 0.9;
    const { sums, open } = sumUp(counters);
    const gone: number[] = [];
    for (const edge of this.#byNumber.values()) {
      const sum = sums.get(edge.number) ?? 0;
      if (sum !== edge.lastSum) {
        edge.lastSum = sum;
        edge.quietSince = now;
        continue;
      }
      const quiet = tight || now - edge.quietSince >= this.#options.idleMs;
      if (edge.rows === 0 && quiet && (open.get(edge.number) ?? 0) <= 0) gone.push(edge.number);
    }
    for (const number of gone) this.#forget(number);
    return gone;
  }

  #forget(number: number): void {
    const edge = this.#byNumber.get(number);
    if (edge === undefined) return;
    this.#byNumber.delete(number);
    this.#byKey.delete(edge.key);
    this.#forgotten.set(number, edge.labels);
    const [oldest] = this.#forgotten.keys();
    if (this.#forgotten.size > this.#options.maxForgotten && oldest !== undefined)
      this.#forgotten.delete(oldest);
  }
}

/** Equal for equal labels alone. */
export function edgeKey(labels: TrafficLabels): string {
  return trafficLabelNames.map((name) => labels[name]).join('\0');
}

function sumUp(counters: readonly EdgeCounters[]): { sums: Map<number, number>; open: Map<number, number> } {
  const sums = new Map<number, number>();
  const open = new Map<number, number>();
  for (const { edges, values } of counters) {
    edges.forEach((edge, index) => {
      const row = values.subarray(index * columns, (index + 1) * columns);
      sums.set(
        edge,
        row.reduce((sum, value) => sum + value, sums.get(edge) ?? 0),
      );
      open.set(edge, (open.get(edge) ?? 0) + (row[opened] ?? 0) - (row[closed] ?? 0));
    });
  }
  return { sums, open };
}
