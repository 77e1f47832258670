import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { FairQueue } from '../../../src/base/fair-queue.ts';

/** Jobs that end when they are told to; says in which order they began. */
function jobs() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const job = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  const end = async (name: string) => {
    await sleep(0);
    ends.get(name)?.();
    await sleep(0);
  };
  return { begun, job, end };
}

describe('a fair queue', () => {
  it('does so many at a time, and gives turns to those who ask, not to what they ask', async () => {
    const queue = new FairQueue({ parallel: 1, waiting: 10, perAsker: 5 });
    const { begun, job, end } = jobs();
    const many = ['a1', 'a2', 'a3', 'a4'].map((name) => queue.run('a', job(name)));
    const one = queue.run('b', job('b1'));
    await sleep(0);
    expect(begun).toEqual(['a1']);
    for (const name of ['a1', 'a2', 'b1', 'a3', 'a4']) await end(name);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3', 'a4']);
    expect(await Promise.all([...many, one])).toEqual(['a1', 'a2', 'a3', 'a4', 'b1']);
    expect([queue.running, queue.waiting]).toEqual([0, 0]);
  });

  it('refuses at once what has no room to wait, of one and of all', async () => {
    const queue = new FairQueue({ parallel: 1, waiting: 3, perAsker: 3 });
    const { job, end } = jobs();
    const taken = ['1', '2', '3'].map((name) => queue.run('a', job(name)));
    await expect(queue.run('a', job('4'))).rejects.toMatchObject({ code: 'ERR_QUEUE_FULL' });
    taken.push(queue.run('b', job('5')));
    await expect(queue.run('c', job('6'))).rejects.toThrow(/3 questions wait already; ask again later/);
    for (const name of ['1', '2', '5', '3']) await end(name);
    expect(await Promise.all(taken)).toEqual(['1', '2', '3', '5']);
    const again = queue.run('a', job('7'));
    await end('7');
    expect(await again).toBe('7');
  });

  it('does not do what was given up while it waited, and a failure is that of its job alone', async () => {
    const queue = new FairQueue({ parallel: 1, waiting: 3, perAsker: 3 });
    const { begun, job, end } = jobs();
    const failing = queue.run('a', () => Promise.reject(new Error('no')));
    const first = queue.run('a', job('first'));
    const leaving = new AbortController();
    const left = queue.run('b', job('left'), leaving.signal);
    leaving.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    await expect(failing).rejects.toThrow('no');
    await end('first');
    expect(await first).toBe('first');
    expect(begun).toEqual(['first']);
    expect([queue.running, queue.waiting]).toEqual([0, 0]);
  });
});
