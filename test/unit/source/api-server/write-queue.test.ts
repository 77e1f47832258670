import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
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
    queue.add('one');
    await vi.waitFor(() => expect(tries).toBe(3), 10_000);
    // It waits to try again.
    await sleep(20);
    expect(getEventListeners(ending.signal, 'abort')).toHaveLength(1);
    ending.abort();
    await done;
    expect(getEventListeners(ending.signal, 'abort')).toEqual([]);
  });
});
