import { getEventListeners } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../../src/base/logger.ts';
import { WriteQueue } from '../../../../src/source/api-server/write-queue.ts';

describe('a queue of writes', () => {
  it('leaves nothing behind for each time it tries again', async () => {
    let tries = 0;
    const queue = new WriteQueue({
      perSecond: 10_000,
      logger: silentLogger,
      write: async () => {
        tries += 1;
        throw new Error('the server is busy');
      },
    });
    const ending = new AbortController();
    const done = queue.run(ending.signal);
    // What fails is left to wait for its next try; a new wish wakes the queue up each time.
    for (let round = 1; round <= 20; round += 1) {
      queue.add('one');
      await vi.waitFor(() => expect(tries).toBeGreaterThanOrEqual(round), { interval: 1 });
    }
    expect(getEventListeners(ending.signal, 'abort').length).toBeLessThanOrEqual(1);
    ending.abort();
    await done;
    expect(getEventListeners(ending.signal, 'abort')).toEqual([]);
  });
});
