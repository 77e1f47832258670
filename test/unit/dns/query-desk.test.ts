import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { QueryDesk } from '../../../src/dns/query-desk.ts';
import { WaitingQueries } from '../../../src/dns/waiting-queries.ts';
import type { AskedName } from '../../../src/native/types.ts';

const asked = (id: number): AskedName => ({
  kind: 'query',
  id,
  podIndex: 1,
  slot: 0,
  protocol: 'udp',
  message: Buffer.alloc(12),
});

it('queries without end get a tenth of the main thread, and each is charged with what it took', () => {
  vi.useFakeTimers();
  try {
    const started = performance.now();
    const spent: number[] = [];
    const desk = new QueryDesk(
      (microseconds) => {
        spent.push(microseconds);
        return asked(spent.length);
      },
      () => vi.advanceTimersByTime(1),
    );
    desk.wake();
    for (let turn = 0; turn < 50; turn++) {
      // More of them are no reason to begin early.
      desk.wake();
      vi.advanceTimersToNextTimer();
    }
    desk.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(desk.totalMs / (performance.now() - started)).toBeCloseTo(0.1, 2);
    expect(spent).toHaveLength(102);
    expect(new Set(spent.slice(1))).toEqual(new Set([1000]));
  } finally {
    vi.useRealTimers();
  }
});

it('nothing that waits costs nothing, and the next is begun at once', () => {
  const waiting = [asked(1), asked(2)];
  const decided: number[] = [];
  const desk = new QueryDesk(
    () => waiting.shift(),
    ({ id }) => decided.push(id),
  );
  desk.wake();
  expect(decided).toEqual([1, 2]);
  desk.wake();
  waiting.push(asked(3));
  desk.wake();
  expect(decided).toEqual([1, 2, 3]);
});

it('queries of an unknown pod wait together, each to its own time, a bounded number', async () => {
  const answered: number[] = [];
  const started = performance.now();
  const times: number[] = [];
  const waiting = new WaitingQueries(({ id }) => {
    answered.push(id);
    times.push(performance.now() - started);
  });
  for (let id = 0; id < 64; id++) waiting.add(asked(id));
  expect(answered).toEqual([]);
  waiting.add(asked(64));
  expect(answered).toEqual([64]);
  waiting.release();
  expect(answered).toHaveLength(65);
  expect(waiting.size).toBe(0);

  waiting.add(asked(100));
  await sleep(300);
  waiting.add(asked(101));
  await expect.poll(() => answered.at(-1), { timeout: 5_000 }).toBe(101);
  const [first = 0, second = 0] = times.slice(-2);
  expect(first).toBeGreaterThan(1_990);
  expect(second - first).toBeGreaterThan(200);
  waiting.close();
});
