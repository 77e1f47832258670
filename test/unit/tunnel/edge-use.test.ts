import { expect, it } from 'vitest';
import { edgeColumns } from '../../../src/native/types.ts';
import { EdgeUse } from '../../../src/tunnel/edge-use.ts';

/** Counters of edges, by column; those left out are 0. */
const counters = (edges: Record<number, Partial<Record<(typeof edgeColumns)[number], number>>>) => ({
  edges: Uint32Array.from(Object.keys(edges), Number),
  values: Float64Array.from(
    Object.values(edges).flatMap((row) => edgeColumns.map((column) => row[column] ?? 0)),
  ),
  failures: new Float64Array(),
});

it('an edge is idle when nothing was counted on it for so long, and no connection is open', () => {
  const use = new EdgeUse();
  use.update([counters({ 1: { opened: 1, closed: 1 }, 2: { opened: 1 }, 3: { failed: 1 } })], 0);
  const idle = () => [1, 2, 3].filter((edge) => use.isIdle(edge, 100));
  expect(idle()).toEqual([]);
  use.update([counters({ 1: { opened: 1, closed: 1 }, 2: { opened: 1 }, 3: { failed: 2 } })], 100);
  expect(idle()).toEqual([1]);
  use.update([counters({ 1: { opened: 2, closed: 2 }, 2: { opened: 1, closed: 1 }, 3: { failed: 2 } })], 200);
  expect(idle()).toEqual([3]);
});

it('an edge that was never counted is idle from when it was first asked about', () => {
  const use = new EdgeUse();
  use.update([counters({})], 1_000);
  expect(use.isIdle(7, 100)).toBe(false);
  use.update([counters({})], 1_050);
  expect(use.isIdle(7, 100)).toBe(false);
  use.update([counters({})], 1_100);
  expect(use.isIdle(7, 100)).toBe(true);
});

it('an edge that the kernel alone uses is not idle, and is open while any of its counters says so', () => {
  const use = new EdgeUse();
  const native = counters({ 1: { opened: 3, closed: 3 }, 2: { opened: 1, closed: 1 } });
  const idle = () => [1, 2].filter((edge) => use.isIdle(edge, 100));
  use.update([native, counters({ 1: { opened: 5, closed: 5 } })], 0);
  use.update([native, counters({ 1: { opened: 6, closed: 6 } })], 100);
  expect(idle()).toEqual([2]);
  use.update([native, counters({ 1: { opened: 7, closed: 6 } })], 200);
  use.update([native, counters({ 1: { opened: 7, closed: 6 } })], 400);
  expect(idle()).toEqual([2]);
});
