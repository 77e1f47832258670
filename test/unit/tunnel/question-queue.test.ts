import { expect, it } from 'vitest';
import { QuestionQueue } from '../../../src/tunnel/question-queue.ts';

it('gives pods their turn, so a scan waits behind itself', () => {
  const queue = new QuestionQueue<{ podIndex: number; n: number }>();
  for (let n = 0; n < 5; n++) queue.add({ podIndex: 1, n });
  queue.add({ podIndex: 2, n: 100 });
  const turns = Array.from({ length: 4 }, () => queue.takeTurn(2).map(({ n }) => n));
  expect(turns).toEqual([[0, 1], [100], [2, 3], [4]]);
  expect(queue.size).toBe(0);
  expect(queue.takeTurn(2)).toEqual([]);
});

it('forgets the questions of a pod', () => {
  const queue = new QuestionQueue<{ podIndex: number }>();
  queue.add({ podIndex: 1 });
  queue.add({ podIndex: 2 });
  queue.forget(1);
  queue.forget(7);
  expect(queue.size).toBe(1);
  expect(queue.takeTurn(10)).toEqual([{ podIndex: 2 }]);
});
