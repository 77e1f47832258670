/** Counters of edges with their labels, added up over tunnel and kernel: the samples of the traffic metrics. */
import { reasonDetails } from '../model/reasons.gen.ts';
import { type EdgeCounters, edgeColumns } from '../native/types.ts';
import { labelsKey, type TrafficLabels } from '../routing/labels.ts';
import { type EdgeRegistry, overflowEdge } from './edge-registry.ts';
import { responseFlags } from './response-flags.ts';
import { unknownLabels } from './unknown-labels.ts';

/** Traffic that was counted elsewhere than under an edge, e.g. connections that the kernel left alone. */
export interface LabelledTraffic {
  readonly labels: TrafficLabels;
  readonly opened: number;
  readonly closed: number;
  readonly failed: number;
  /** Why they failed; missing where nobody knows. */
  readonly reason?: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export interface TrafficRow {
  /** Frozen, the same object at each scrape: prom-client keeps its text. */
  readonly labels: object;
  opened: number;
  closed: number;
  bytesSent: number;
  bytesReceived: number;
  /** Failures by the number of their reason. */
  readonly failures: Map<number, FailureSample>;
}

export interface FailureSample {
  readonly labels: object;
  count: number;
}

const columns = edgeColumns.length;

export class TrafficTable {
  readonly #edges: EdgeRegistry;
  /** Label objects live as long as their edges, so that their text is made once. */
  readonly #shared = new WeakMap<TrafficLabels, object>();
  readonly #failureLabels = new Map<number, object>();

  constructor(edges: EdgeRegistry) {
    this.#edges = edges;
  }

  read(counters: readonly EdgeCounters[], labelled: readonly LabelledTraffic[]): TrafficRow[] {
    const byEdge = new Map<number, TrafficRow>();
    for (const source of counters) this.#addCounters(byEdge, source);
    const rows = [...byEdge.values()];
    if (labelled.length === 0) return rows;
    return this.#addLabelled(byEdge, labelled);
  }

  #addCounters(rows: Map<number, TrafficRow>, { edges, values, failures }: EdgeCounters): void {
    for (let index = 0; index < edges.length; index++) {
      const row = this.#row(rows, edges[index] ?? 0);
      const at = index * columns;
      row.opened += values[at] ?? 0;
      row.closed += values[at + 1] ?? 0;
      row.bytesSent += values[at + 3] ?? 0;
      row.bytesReceived += values[at + 4] ?? 0;
    }
    for (let at = 0; at + 2 < failures.length; at += 3) {
      const [edge = 0, reason = 0, count = 0] = failures.subarray(at, at + 3);
      this.#addFailure(this.#row(rows, edge), reason, count);
    }
  }

  #addLabelled(byEdge: Map<number, TrafficRow>, labelled: readonly LabelledTraffic[]): TrafficRow[] {
    const byKey = new Map<string, TrafficRow>();
    for (const [edge, row] of byEdge)
      byKey.set(labelsKey(this.#edges.countedLabels(edge) ?? unknownLabels), row);
    const extra: TrafficRow[] = [];
    for (const traffic of labelled) {
      const key = labelsKey(traffic.labels);
      let row = byKey.get(key);
      if (row === undefined) {
        row = this.#emptyRow(traffic.labels);
        byKey.set(key, row);
        extra.push(row);
      }
      row.opened += traffic.opened;
      row.closed += traffic.closed;
      row.bytesSent += traffic.bytesSent;
      row.bytesReceived += traffic.bytesReceived;
      if (traffic.failed > 0) this.#addFailure(row, traffic.reason ?? 0, traffic.failed);
    }
    return [...byEdge.values(), ...extra];
  }

  /** Edges that overflowed or are forgotten share the unknown labels: one series, never two of one name. */
  #row(rows: Map<number, TrafficRow>, edge: number): TrafficRow {
    const labels = this.#edges.countedLabels(edge);
    const key = labels === undefined ? overflowEdge : edge;
    const known = rows.get(key);
    if (known !== undefined) return known;
    const row = this.#emptyRow(labels ?? unknownLabels);
    rows.set(key, row);
    return row;
  }

  #emptyRow(labels: TrafficLabels): TrafficRow {
    return {
      labels: this.#sharedLabels(labels),
      opened: 0,
      closed: 0,
      bytesSent: 0,
      bytesReceived: 0,
      failures: new Map(),
    };
  }

  #sharedLabels(labels: TrafficLabels): object {
    const known = this.#shared.get(labels);
    if (known !== undefined) return known;
    const made = Object.freeze({ ...labels, request_protocol: 'tcp' });
    this.#shared.set(labels, made);
    return made;
  }

  #addFailure(row: TrafficRow, reason: number, count: number): void {
    const known = row.failures.get(reason);
    if (known !== undefined) known.count += count;
    else row.failures.set(reason, { labels: this.#labelsOfFailure(reason), count });
  }

  #labelsOfFailure(reason: number): object {
    const known = this.#failureLabels.get(reason);
    if (known !== undefined) return known;
    const name = reasonDetails.get(reason)?.metric ?? `reason_${reason}`;
    const made = Object.freeze({ response_flags: responseFlags(reason), reason: name });
    this.#failureLabels.set(reason, made);
    return made;
  }
}
