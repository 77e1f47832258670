import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { AbsentNames } from '../../../src/agent/absent-names.ts';
import { absentMs } from '../../../src/tunnel/missing-names.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function start(isTold: boolean) {
  const asked: string[] = [];
  const known = new Set<string>();
  const absent = new AbsentNames({
    lookUp: (names) => asked.push(`+${names.join(' ')}`),
    lookAway: (names) => asked.push(`-${names.join(' ')}`),
    isKnown: (name) => known.has(name),
    isTold: () => isTold,
  });
  onTestFinished(() => absent.close());
  return { absent, asked, known };
}

it('is asked for a while, and then not any more: a later question asks anew', () => {
  const { absent, asked } = start(true);
  absent.add(['/10.0.0.1', '/10.0.0.2']);
  vi.advanceTimersByTime(absentMs - 1_000);
  expect([asked, absent.has('/10.0.0.1')]).toEqual([[], true]);
  vi.advanceTimersByTime(1_000);
  expect([asked, absent.has('/10.0.0.1')]).toEqual([['-/10.0.0.1 /10.0.0.2'], false]);
  expect(vi.getTimerCount()).toBe(0);
});

it('is asked for again each second where nobody tells when it comes to be, all in one request', () => {
  const { absent, asked, known } = start(false);
  absent.add(['/10.0.0.1', '/10.0.0.2']);
  vi.advanceTimersByTime(1_000);
  expect(asked.splice(0)).toEqual(['-/10.0.0.1 /10.0.0.2', '+/10.0.0.1 /10.0.0.2']);
  // The answer says once more that it is not there.
  absent.add(['/10.0.0.2']);
  known.add('/10.0.0.1');
  vi.advanceTimersByTime(1_000);
  expect(asked.splice(0)).toEqual(['-/10.0.0.2', '+/10.0.0.2']);
  for (let second = 3; second < absentMs / 1_000; second++) {
    vi.advanceTimersByTime(1_000);
    absent.add(['/10.0.0.2']);
  }
  asked.splice(0);
  vi.advanceTimersByTime(1_000);
  expect(asked).toEqual(['-/10.0.0.2']);
  expect(vi.getTimerCount()).toBe(0);
});

it('that has come to be stays asked for: what changes of it is to be told', () => {
  const { absent, asked, known } = start(true);
  absent.add(['/10.0.0.1']);
  known.add('/10.0.0.1');
  vi.advanceTimersByTime(2 * absentMs);
  expect(asked).toEqual([]);
});
