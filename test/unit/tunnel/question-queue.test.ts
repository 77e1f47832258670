import { expect, it } from 'vitest';
import { QuestionQueue, type QuestionRate } from '../../../src/tunnel/question-queue.ts';

interface Question {
  readonly pod: number;
  readonly n: number;
}

function queue(rate: Partial<QuestionRate> = {}): QuestionQueue<Question> {
  const usual = { perSecond: 1_000, burst: 1_000, failureCost: 9, mostWaiting: 1_000 };
  return new QuestionQueue<Question>(({ pod }) => String(pod), { ...usual, ...rate });
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
  for (let n = 0; n < 3; n++) waiting.add({ pod: 1, n });
  expect(numbers(waiting.takeTurn(8, 1_000))).toEqual([0, 1, 2]);
  for (let n = 3; n < 6; n++) waiting.add({ pod: 1, n });
  expect(waiting.takeTurn(8, 1_005)).toEqual([]);
  waiting.add({ pod: 2, n: 100 });
  expect(numbers(waiting.takeTurn(8, 1_005))).toEqual([100]);
  expect(numbers(waiting.takeTurn(8, 1_010))).toEqual([3]);
  expect(numbers(waiting.takeTurn(8, 1_030))).toEqual([4, 5]);
  expect(waiting.size).toBe(0);
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

it('lets an asker whose answers lead nowhere ask more slowly, and soon again at its rate when they do no more', () => {
  const waiting = queue({ perSecond: 100, burst: 10, failureCost: 9 });
  const answeredIn = (seconds: number, failed: number, from: number) => {
    let count = 0;
    let failures = 0;
    for (let now = from; now < from + seconds * 1000; now += 10) {
      while (waiting.size < 5) {
        waiting.add({ pod: 1, n: 0 }, failures);
        failures = 0;
      }
      const taken = waiting.takeTurn(5, now).length;
      count += taken;
      failures += taken * failed;
    }
    return count;
  };
  expect(answeredIn(1, 0, 1_000)).toBeGreaterThan(95);
  const scanning = answeredIn(10, 1, 2_000);
  expect(scanning).toBeGreaterThan(80);
  expect(scanning).toBeLessThan(120);
  answeredIn(0.2, 0, 12_000);
  expect(answeredIn(1, 0, 12_200)).toBeGreaterThan(90);
});

it('charges an asker, however much of it fails, with a debt that is soon paid', () => {
  const waiting = queue({ perSecond: 100, burst: 10 });
  waiting.add({ pod: 1, n: 0 }, 1_000_000);
  waiting.add({ pod: 2, n: 1 });
  expect(numbers(waiting.takeTurn(8, 1_000))).toEqual([1]);
  expect(waiting.takeTurn(8, 1_050)).toEqual([]);
  expect(numbers(waiting.takeTurn(8, 1_200))).toEqual([0]);
});

it('forgets the oldest questions of an asker that has more waiting than can still want an answer', () => {
  const waiting = queue({ perSecond: 1, burst: 3, mostWaiting: 3 });
  for (let n = 0; n < 8; n++) waiting.add({ pod: 1, n });
  waiting.add({ pod: 2, n: 100 });
  expect(waiting.size).toBe(4);
  expect(numbers(waiting.takeTurn(8, 1_000))).toEqual([5, 6, 7]);
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
