import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Backoff, retry } from '../../../src/base/backoff.ts';

const exact = { initialMs: 100, maxMs: 1_000, factor: 2, jitter: 0 };

it('doubles up to its maximum and starts again after a reset', () => {
  const backoff = new Backoff(exact);
  expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  backoff.reset();
  expect(backoff.next()).toBe(100);
});

it('waits no longer than it is told this time, but never less than at first', () => {
  const backoff = new Backoff(exact);
  expect([50, 150, 150, 5_000].map((limitMs) => backoff.next(limitMs))).toEqual([100, 150, 150, 800]);
});

it('never leaves its bounds, whatever the chance', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.integer({ min: 1, max: 2_000 }),
      (chance, failures) => {
        const backoff = new Backoff({ initialMs: 100, maxMs: 5_000, jitter: 0.5, random: () => chance });
        let delay = 0;
        for (let i = 0; i < failures; i += 1) delay = backoff.next();
        return delay >= 50 && delay <= 5_000;
      },
    ),
  );
});

it('tries until it succeeds and tells each failure', async () => {
  const told: string[] = [];
  const result = await retry(
    async (n) => {
      if (n < 3) throw new Error(`attempt ${n}`);
      return 'done';
    },
    {
      ...exact,
      initialMs: 1,
      step: 'signing',
      onFailure: (error, ms, n) => told.push(`${n} ${String(error)} ${ms}`),
    },
  );
  expect(result).toBe('done');
  expect(told).toEqual(['1 Error: attempt 1 1', '2 Error: attempt 2 2']);
});

it('throws the last error when the attempts are used up', async () => {
  const attempt = async (n: number) => {
    throw new Error(`attempt ${n}`);
  };
  await expect(retry(attempt, { initialMs: 1, attempts: 3, step: 'signing' })).rejects.toThrow('attempt 3');
});

it('stops waiting when its signal fires', async () => {
  const controller = new AbortController();
  const trying = retry(
    async () => {
      throw new Error('no');
    },
    {
      initialMs: 60_000,
      step: 'signing',
      signal: controller.signal,
      onFailure: () => setImmediate(() => controller.abort()),
    },
  );
  await expect(trying).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
