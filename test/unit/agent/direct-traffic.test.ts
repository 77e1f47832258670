import { expect, it } from 'vitest';
import { directCounters } from '../../../src/agent/direct-traffic.ts';
import { untouchedTraffic } from '../../../src/agent/untouched-flows.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';

const count = {
  podIndex: 1,
  direction: 1,
  opened: 3,
  closed: 2,
  failed: 0,
  bytesSent: 10,
  bytesReceived: 20,
};
const counts = [
  { ...count, edge: 5, reason: reasons.DIRECT },
  { ...count, edge: 6, reason: reasons.AUTHORIZED, direction: 2, failed: 4 },
  { ...count, edge: 0, reason: reasons.OUTSIDE_MESH },
  { ...count, edge: 9, reason: reasons.ROW_UNTOUCHED },
];

it('both ends of what the kernel carries count by edge, and failures under a reason', () => {
  const { edges, values, failures } = directCounters(counts);
  expect([...edges]).toEqual([5, 6]);
  expect([...values]).toEqual([3, 2, 0, 10, 20, 3, 2, 4, 10, 20]);
  expect([...failures]).toEqual([6, reasons.CONNECT_FAILED, 4]);
});

it('what the capture left alone is counted once, under its pod', () => {
  expect(untouchedTraffic(counts, () => undefined)).toHaveLength(2);
});
