import { expect, it } from 'vitest';
import { QuestionQueue } from '../../../src/tunnel/question-queue.ts';

interface Question {
  readonly pod: number;
  readonly n: number;
}

function queue(rate = { perSecond: 1_000, burst: 1_000 }): QuestionQueue<Question> {
  return new QuestionQueue<Question>(({ pod }) => String(pod), rate);
}

const numbers = (questions: readonly Question[]) => questions.map(({ n }) => n);

it('gives askers their turn, so a scan waits behind itself', () => {
  const waiting = queue();
  for (let n = 0; n < 5; n++) waiting.add({ pod: 1, n });
  waiting.add({ pod: 2, n: 100 });
  const turns = Array.from({ length: 4 }, () => numbers(waiting.takeTurn(2, 0)));
  expect(turns).toEqual([[0, 1], [100], [2, 3], [4]]);
  expect(waiting.size).toBe(0);
  expect(waiting.takeTurn(2, 0)).toEqual([]);
});

it('lets an asker ask in a burst, then at its rate, and others meanwhile', () => {
  const waiting = queue({ perSecond: 100, burst: 3 });
  for (let n = 0; n < 10; n++) waiting.add({ pod: 1, n });
  expect(numbers(waiting.takeTurn(8, 1_000))).toEqual([0, 1, 2]);
  expect(waiting.takeTurn(8, 1_005)).toEqual([]);
  waiting.add({ pod: 2, n: 100 });
  expect(numbers(waiting.takeTurn(8, 1_005))).toEqual([100]);
  expect(numbers(waiting.takeTurn(8, 1_010))).toEqual([3]);
  expect(numbers(waiting.takeTurn(8, 1_030))).toEqual([4, 5]);
  expect(waiting.size).toBe(4);
});

it('remembers the rate of an asker that has just been answered, and forgets it when it has rested', () => {
  const waiting = queue({ perSecond: 100, burst: 2 });
  for (const n of [0, 1]) waiting.add({ pod: 1, n });
  waiting.takeTurn(8, 1_000);
  waiting.add({ pod: 1, n: 2 });
  expect(waiting.takeTurn(8, 1_001)).toEqual([]);
  expect(numbers(waiting.takeTurn(8, 1_010))).toEqual([2]);
  waiting.add({ pod: 2, n: 3 });
  waiting.takeTurn(8, 2_000);
  for (const n of [4, 5]) waiting.add({ pod: 1, n });
  expect(numbers(waiting.takeTurn(8, 2_000))).toEqual([4, 5]);
});

it('forgets the questions of a pod', () => {
  const waiting = queue();
  waiting.add({ pod: 1, n: 0 });
  waiting.add({ pod: 2, n: 1 });
  waiting.forget(({ pod }) => pod === 1);
  waiting.forget(({ pod }) => pod === 7);
  expect(waiting.size).toBe(1);
  expect(numbers(waiting.takeTurn(10, 0))).toEqual([1]);
});
