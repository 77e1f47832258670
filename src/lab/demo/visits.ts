/** The load of the demo: visitors of the bookshop, whose requests carry words that the proof looks for. */
import { randomBytes } from 'node:crypto';
import { HadalError } from '../../base/errors.ts';
import type { Lab } from '../lab.ts';
import type { Marker } from './proof.ts';

export interface Latency {
  readonly requests: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

export interface Visits {
  readonly family: 4 | 6;
  readonly requests: number;
  readonly failed: number;
  readonly failures: readonly string[];
  readonly ms: number;
}

export interface Load {
  readonly visits: readonly Visits[];
  readonly markers: readonly Marker[];
  /** As each caller measured it, by `caller>called`. */
  readonly latencies: ReadonlyMap<string, Latency>;
}

const requests = 200;
const concurrency = 8;

/** Edges of the shop and what the fabric may show of them. Front and reviews share a node: nothing of theirs crosses it. */
const edges = [
  { edge: 'visitor>front', expected: 'hidden' },
  { edge: 'front>catalog', expected: 'hidden' },
  { edge: 'front>reviews', expected: 'hidden' },
  { edge: 'catalog>stock', expected: 'visible' },
  { edge: 'reviews>publisher', expected: 'visible' },
] as const;

export async function visitShop(lab: Lab): Promise<Load> {
  const visits: Visits[] = [];
  const markers: Marker[] = [];
  const latencies = new Map<string, Latency>();
  for (const family of [4, 6] as const) {
    const note = `note-${randomBytes(12).toString('hex')}`;
    const argv = ['node', '/app/visitor.mjs', String(requests), String(concurrency), String(family), note];
    const ran = await lab.pod('visitor').exec(argv, { env: { SERVICE: 'visitor' }, timeoutMs: 120_000 });
    if (ran.code !== 0)
      throw new HadalError('ERR_DEMO_LOAD', `the visitors did not come back: ${ran.stderr.trim()}`);
    const result = JSON.parse(ran.stdout) as Omit<Visits, 'family'> & { latency: Record<string, Latency> };
    visits.push({ ...result, family });
    addLatencies(latencies, 'visitor', result.latency);
    for (const { edge, expected } of edges) {
      for (const direction of ['ask', 'answer'] as const) {
        markers.push({ edge, direction, family, expected, text: `${direction} ${edge} ${note}` });
      }
    }
  }
  for (const caller of ['front', 'catalog', 'reviews']) {
    const told = await lab.pod(caller).exec(['curl', '-s', '-m', '5', 'http://127.0.0.1/stats']);
    addLatencies(
      latencies,
      caller,
      (JSON.parse(told.stdout) as { latency: Record<string, Latency> }).latency,
    );
  }
  return { visits, markers, latencies };
}

function addLatencies(all: Map<string, Latency>, caller: string, measured: Record<string, Latency>): void {
  for (const [called, latency] of Object.entries(measured)) all.set(`${caller}>${called}`, latency);
}
