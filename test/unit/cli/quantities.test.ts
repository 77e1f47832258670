import { expect, it } from 'vitest';
import { formatBytes, formatDuration } from '../../../src/cli/quantities.ts';

it.each([
  [0, '0B'],
  [999, '999B'],
  [1_000, '1.0kB'],
  [999_949, '999.9kB'],
  [999_999, '1.0MB'],
  [10_000_007, '10.0MB'],
  [27_000_000_000, '27.0GB'],
  [2e18, '2000.0PB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it.each([
  [0.42, '0.4ms'],
  [12.4, '12ms'],
  [999.4, '999ms'],
  [3_400, '3.4s'],
  [59_949, '59.9s'],
  [59_999, '1m00s'],
  [312_000, '5m12s'],
  [7_500_000, '2h05m'],
  [273_600_000, '3d04h'],
])('%d ms are %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
