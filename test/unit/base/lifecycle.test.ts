import { expect, it } from 'vitest';
import { sleep } from '../../../src/base/abort.ts';
import { Lifecycle } from '../../../src/base/lifecycle.ts';

it('closes in reverse order of the start, one after the other', async () => {
  const life = new Lifecycle();
  const order: string[] = [];
  for (const name of ['kernel', 'tunnel', 'server']) {
    life.onClose(name, async () => {
      order.push(`${name} begins`);
      await sleep(2);
      order.push(`${name} ends`);
    });
  }
  await expect(life.drain({ deadlineMs: 1_000 })).resolves.toEqual({
    closed: ['server', 'tunnel', 'kernel'],
    overdue: [],
    errors: [],
  });
  expect(order).toEqual([
    'server begins',
    'server ends',
    'tunnel begins',
    'tunnel ends',
    'kernel begins',
    'kernel ends',
  ]);
});

it('tells everybody at once that the drain has begun', async () => {
  const life = new Lifecycle();
  let seen = false;
  life.signal.addEventListener('abort', () => {
    seen = true;
  });
  await life.drain({ deadlineMs: 10 });
  expect(seen).toBe(true);
});

it('goes on after an error and reports it with the name', async () => {
  const life = new Lifecycle();
  const closed: string[] = [];
  life.onClose('kernel', () => void closed.push('kernel'));
  life.onClose('tunnel', () => {
    throw new Error('stuck');
  });
  const report = await life.drain({ deadlineMs: 100 });
  expect(closed).toEqual(['kernel']);
  expect(report.errors).toMatchObject([{ code: 'ERR_CLOSE', message: 'closing tunnel: stuck' }]);
});

it('forces what is late when the deadline passes, and all that comes after it', async () => {
  const life = new Lifecycle();
  const forcedAtOnce: boolean[] = [];
  life.onClose('kernel', (force) => void forcedAtOnce.push(force?.aborted === true));
  life.onClose(
    'tunnel',
    (force) => new Promise<void>((end) => force?.addEventListener('abort', () => end())),
  );
  const started = performance.now();
  const report = await life.drain({ deadlineMs: 30 });
  expect(performance.now() - started).toBeLessThan(900);
  expect(report).toMatchObject({ closed: ['tunnel', 'kernel'], errors: [] });
  expect(report.overdue).toContain('tunnel');
  expect(forcedAtOnce).toEqual([true]);
});

it('leaves behind what ignores even force, and says so', async () => {
  const life = new Lifecycle();
  life.onClose('stone', () => new Promise(() => {}));
  const report = await life.drain({ deadlineMs: 10, forceMs: 20 });
  expect(report).toMatchObject({ closed: [], overdue: ['stone'] });
  expect(report.errors[0]?.message).toContain('closing stone by force did not end within 20 ms');
});

it('closes at once what is started while it ends', async () => {
  const life = new Lifecycle();
  await life.drain({ deadlineMs: 10 });
  let closed = false;
  expect(() =>
    life.onClose('late', () => {
      closed = true;
    }),
  ).toThrow('late was started while the program was ending');
  expect(closed).toBe(true);
});

it('drains once, however often it is asked', async () => {
  const life = new Lifecycle();
  let times = 0;
  life.onClose('tunnel', () => {
    times += 1;
  });
  const [first, second] = await Promise.all([life.drain({ deadlineMs: 10 }), life.drain({ deadlineMs: 10 })]);
  expect(times).toBe(1);
  expect(second).toBe(first);
});
