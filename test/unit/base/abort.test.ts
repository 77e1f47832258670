import { expect, it } from 'vitest';
import { deadline, sleep, throwIfAborted, waitOrAbort } from '../../../src/base/abort.ts';
import { HadalError } from '../../../src/base/errors.ts';

it('returns the value when it arrives in time', async () => {
  await expect(waitOrAbort(Promise.resolve(7), new AbortController().signal, 'counting')).resolves.toBe(7);
});

it('says in which step it was given up, and why', async () => {
  const controller = new AbortController();
  const waiting = waitOrAbort(new Promise(() => {}), controller.signal, 'waiting for the first snapshot');
  controller.abort(new Error('SIGTERM'));
  await expect(waiting).rejects.toMatchObject({
    code: 'ERR_ABORTED',
    message: 'waiting for the first snapshot: given up: SIGTERM',
  });
});

it('gives back what arrives after it was given up', async () => {
  let arrive: (value: string) => void = () => {};
  const late = new Promise<string>((resolve) => {
    arrive = resolve;
  });
  const returned: string[] = [];
  const waiting = waitOrAbort(late, AbortSignal.abort(new Error('enough')), 'opening', (value) =>
    returned.push(value),
  );
  await expect(waiting).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  arrive('socket');
  await late;
  await Promise.resolve();
  expect(returned).toEqual(['socket']);
});

it('does not give back what was delivered', async () => {
  const returned: number[] = [];
  const controller = new AbortController();
  await waitOrAbort(Promise.resolve(1), controller.signal, 'opening', (value) => returned.push(value));
  controller.abort();
  await Promise.resolve();
  expect(returned).toEqual([]);
});

it('stays silent about a failure that comes after it was given up', async () => {
  let fail: (error: Error) => void = () => {};
  const late = new Promise<never>((_, reject) => {
    fail = reject;
  });
  await expect(waitOrAbort(late, AbortSignal.abort(), 'opening')).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  fail(new Error('nobody listens')); // An unhandled rejection would fail the run.
  await sleep(5);
});

it('ends a sleep early when the signal fires', async () => {
  const controller = new AbortController();
  const started = performance.now();
  setTimeout(() => controller.abort(new Error('now')), 10);
  await expect(sleep(60_000, controller.signal)).rejects.toBeInstanceOf(HadalError);
  expect(performance.now() - started).toBeLessThan(2_000);
});

it('fires a deadline with a sentence about what was late', async () => {
  const { signal } = deadline(10, 'the handshake');
  await sleep(30);
  expect(() => throwIfAborted(signal, 'dialing')).toThrow(
    'dialing: given up: the handshake did not end within 10 ms',
  );
});

it('fires a deadline early when another signal does, and not at all once cleared', async () => {
  const controller = new AbortController();
  const joined = deadline(60_000, 'the handshake', undefined, controller.signal);
  controller.abort();
  expect(joined.signal.aborted).toBe(true);
  const cleared = deadline(5, 'the handshake');
  cleared.clear();
  await sleep(20);
  expect(cleared.signal.aborted).toBe(false);
});
