/**
 * Numbers for sets of labels. Rows name an edge, native and BPF count per edge, and only here its number has a meaning. Equal
 * labels share a number; a number is never used again, so late flow records and counters cannot be taken for another edge's.
 */
import type { EdgeCounters } from '../native/types.ts';
import { edgeColumns } from '../native/types.ts';
import {
  labelsKey,
  type TrafficLabelName,
  type TrafficLabels,
  trafficLabelNames,
} from '../routing/labels.ts';
import type { EdgeAllotter } from '../tunnel/rows.ts';

export interface EdgeRegistryOptions {
  /** Series of one metric. Beyond it new edges count as `overflowEdge`. Default 20,000. */
  readonly maxEdges?: number;
  /** An edge without rows and traffic is forgotten after this. Default 15 minutes. */
  readonly idleMs?: number;
  /** Edges of one source and destination that differ only in what the source says of itself. Default 64. */
  readonly maxVariants?: number;
  /** Labels of forgotten edges that flow records may still name. Default 4,096. */
  readonly maxForgotten?: number;
  readonly now?: () => number;
}

/** Counts what no other edge has room for; its labels are all `unknown`. */
export const overflowEdge = 0;

/**
 * What a peer says of itself in `baggage`: good for dashboards, but a peer that varies it must not use up everybody's room.
 * Its principal and address are proven; this is not.
 */
const toldBySource: readonly TrafficLabelName[] = trafficLabelNames.filter(
  (name) => name.startsWith('source_') && name !== 'source_principal',
);
/** Kubernetes' own names are no longer. */
const maxLabelLength = 256;

interface Edge {
  readonly number: number;
  /** Edges with the same group differ in `toldBySource` alone; '' for labels that nobody told. */
  readonly group: string;
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
  readonly #variants = new Map<string, number>();
  readonly #forgotten = new Map<number, TrafficLabels>();
  #last = overflowEdge;
  #overflowed = 0;

  constructor(options: EdgeRegistryOptions = {}) {
    this.#options = {
      maxEdges: 20_000,
      maxVariants: 64,
      idleMs: 900_000,
      maxForgotten: 4_096,
      now: Date.now,
      ...options,
    };
  }

  get size(): number {
    return this.#byNumber.size;
  }

  /** How often an edge got no number of its own. */
  get overflowed(): number {
    return this.#overflowed;
  }

  allot(labels: TrafficLabels): number {
    const known = this.#byKey.get(labelsKey(labels));
    if (known !== undefined) {
      known.rows += 1;
      return known.number;
    }
    const short = bounded(labels);
    const plain = untold(short);
    const group = labels.reporter === 'destination' ? labelsKey(plain) : '';
    const isFull = group !== '' && (this.#variants.get(group) ?? 0) >= this.#options.maxVariants;
    return isFull ? this.#share(plain, '') : this.#share(short, group);
  }

  #share(labels: TrafficLabels, group: string): number {
    const known = this.#byKey.get(labelsKey(labels));
    if (known === undefined) return this.#add(labels, group);
    known.rows += 1;
    return known.number;
  }

  #add(labels: TrafficLabels, group: string): number {
    if (this.#byNumber.size >= this.#options.maxEdges) {
      this.#overflowed += 1;
      return overflowEdge;
    }
    this.#last += 1;
    return this.#insert(this.#last, labels, group, 1);
  }

  #insert(number: number, labels: TrafficLabels, group: string, rows: number): number {
    const edge: Edge = {
      number,
      group,
      labels: Object.freeze({ ...labels }),
      key: labelsKey(labels),
      rows,
      lastSum: 0,
      quietSince: this.#options.now(),
    };
    if (group !== '') this.#variants.set(group, (this.#variants.get(group) ?? 0) + 1);
    this.#byKey.set(edge.key, edge);
    this.#byNumber.set(edge.number, edge);
    return edge.number;
  }

  /** Numbers up to this one were an earlier agent's, and what counts under them is not to be taken for ours. */
  startAfter(number: number): void {
    this.#last = Math.max(this.#last, number);
  }

  adopt(number: number, labels: TrafficLabels): void {
    if (number === overflowEdge || this.#byNumber.has(number) || this.#byKey.has(labelsKey(labels))) return;
    if (this.#byNumber.size >= this.#options.maxEdges) return;
    this.startAfter(number);
    this.#insert(number, labels, '', 0);
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
    const variants = (this.#variants.get(edge.group) ?? 0) - 1;
    if (variants > 0) this.#variants.set(edge.group, variants);
    else this.#variants.delete(edge.group);
    this.#forgotten.set(number, edge.labels);
    const [oldest] = this.#forgotten.keys();
    if (this.#forgotten.size > this.#options.maxForgotten && oldest !== undefined)
      this.#forgotten.delete(oldest);
  }
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

function untold(labels: TrafficLabels): TrafficLabels {
  return { ...labels, ...Object.fromEntries(toldBySource.map((name) => [name, 'unknown'])) };
}

/** The same object when nothing is too long. */
function bounded(labels: TrafficLabels): TrafficLabels {
  const long = trafficLabelNames.filter((name) => labels[name].length > maxLabelLength);
  if (long.length === 0) return labels;
  return {
    ...labels,
    ...Object.fromEntries(long.map((name) => [name, labels[name].slice(0, maxLabelLength)])),
  };
}
