import { expect, it } from 'vitest';
import type { EdgeCounters } from '../../../src/native/types.ts';
import { EdgeRegistry, overflowEdge } from '../../../src/telemetry/edge-registry.ts';
import { labels } from './labels.ts';

/** Rows of `[edge, opened, closed, failed, sent, received]`. */
function counters(...rows: number[][]): EdgeCounters[] {
  return [
    {
      edges: Uint32Array.from(rows.map(([edge = 0]) => edge)),
      values: Float64Array.from(rows.flatMap(([, ...values]) => values)),
      failures: new Float64Array(),
    },
  ];
}

function setup(options: ConstructorParameters<typeof EdgeRegistry>[0] = {}) {
  const time = { now: 0 };
  return { edges: new EdgeRegistry({ idleMs: 1_000, now: () => time.now, ...options }), time };
}

const front = labels({ source_workload: 'front' });
const admin = labels({ source_workload: 'admin' });

it('equal labels share a number, and different ones never do', () => {
  const { edges } = setup();
  expect(edges.allot(front)).toBe(1);
  expect(edges.allot({ ...front })).toBe(1);
  expect(edges.allot(admin)).toBe(2);
  expect(edges.labels(1)).toEqual(front);
  expect(edges.size).toBe(2);
});

it('an edge is forgotten when no row names it and it was quiet for long enough', () => {
  const { edges, time } = setup();
  const edge = edges.allot(front);
  edges.allot(front);
  edges.release(edge);
  time.now = 5_000;
  expect(edges.sweep([])).toEqual([]);
  edges.release(edge);
  expect(edges.sweep([])).toEqual([]);
  time.now = 5_999;
  expect(edges.sweep([])).toEqual([]);
  time.now = 6_000;
  expect(edges.sweep([])).toEqual([edge]);
  expect(edges.size).toBe(0);
});

it('traffic since the last sweep keeps it, and so does a connection that is open', () => {
  const { edges, time } = setup();
  const edge = edges.allot(front);
  edges.release(edge);
  time.now = 2_000;
  expect(edges.sweep(counters([edge, 1, 1, 0, 100, 100]))).toEqual([]);
  time.now = 3_500;
  expect(edges.sweep(counters([edge, 2, 1, 0, 100, 100]))).toEqual([]);
  time.now = 9_000;
  expect(edges.sweep(counters([edge, 2, 1, 0, 100, 100]))).toEqual([]);
  time.now = 9_001;
  expect(edges.sweep(counters([edge, 2, 2, 0, 100, 100]))).toEqual([]);
  time.now = 10_001;
  expect(edges.sweep(counters([edge, 2, 2, 0, 100, 100]))).toEqual([edge]);
});

it('a number is never used again, and its labels stay known to late records for a while', () => {
  const { edges, time } = setup({ maxForgotten: 1 });
  const [first, second] = [edges.allot(front), edges.allot(admin)];
  for (const edge of [first, second]) edges.release(edge);
  time.now = 1_000;
  expect(edges.sweep([])).toEqual([first, second]);
  expect(edges.labels(second)).toEqual(admin);
  expect(edges.countedLabels(second)).toBeUndefined();
  expect(edges.labels(first)).toBeUndefined();
  expect(edges.allot(front)).toBe(3);
});

it('beyond its room new edges overflow, and there is room again once quiet ones go', () => {
  const { edges } = setup({ maxEdges: 10 });
  const numbers = Array.from({ length: 10 }, (_, n) => edges.allot(labels({ source_workload: `w${n}` })));
  expect(edges.allot(front)).toBe(overflowEdge);
  expect(edges.overflowed).toBe(1);
  edges.release(overflowEdge);
  for (const edge of numbers.slice(0, 3)) edges.release(edge);
  // Nearly full: being quiet since the last sweep is enough.
  expect(edges.sweep([])).toEqual(numbers.slice(0, 3));
  expect(edges.allot(front)).toBe(11);
});

it('a peer that calls itself by ever new names takes no more room than its share', () => {
  const { edges } = setup({ maxVariants: 5 });
  const liar = (name: string) =>
    labels({
      reporter: 'destination',
      source_principal: 'spiffe://a/ns/b/sa/liar',
      source_workload: name,
      destination_workload: 'catalog',
    });
  const numbers = Array.from({ length: 1_000 }, (_, n) => edges.allot(liar(`name-${n}`)));
  expect(edges.size).toBe(6);
  expect(edges.labels(numbers.at(-1) ?? 0)).toMatchObject({
    source_workload: 'unknown',
    source_principal: 'spiffe://a/ns/b/sa/liar',
  });
  // Others are not touched.
  const other = edges.allot({ ...liar('honest'), source_principal: 'spiffe://a/ns/b/sa/honest' });
  expect(edges.labels(other)?.source_workload).toBe('honest');
  for (const number of numbers) edges.release(number);
});

it('labels from the wire are cut to a length that a dashboard can hold', () => {
  const { edges } = setup();
  const long = labels({ reporter: 'destination', source_workload: 'x'.repeat(60_000) });
  const edge = edges.allot(long);
  expect(edges.labels(edge)?.source_workload).toHaveLength(256);
  expect(edges.allot(long)).toBe(edge);
  expect(edges.size).toBe(1);
});

it('numbers of an earlier agent go on under what they mean now, and are given to nobody else', () => {
  const { edges, time } = setup();
  edges.startAfter(40);
  expect(edges.allot(admin)).toBe(41);
  edges.adopt(7, front);
  expect(edges.labels(7)).toEqual(front);
  expect(edges.allot({ ...front })).toBe(7);
  // What has a number of ours already keeps it.
  edges.adopt(8, admin);
  expect(edges.labels(8)).toBeUndefined();
  edges.adopt(overflowEdge, labels({ source_workload: 'nobody' }));
  expect(edges.labels(overflowEdge)).toBeUndefined();
  edges.release(7);
  // Forgotten as any other, when its last connection has ended.
  time.now = 5_000;
  edges.sweep(counters([7, 1, 0, 0, 0, 0]));
  time.now = 10_000;
  expect(edges.sweep(counters([7, 1, 0, 0, 0, 0]))).toEqual([]);
  edges.sweep(counters([7, 1, 1, 0, 0, 0]));
  time.now = 15_000;
  expect(edges.sweep(counters([7, 1, 1, 0, 0, 0]))).toEqual([7]);
});
