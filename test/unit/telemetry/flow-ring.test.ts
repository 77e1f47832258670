import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type FlowFormat, FlowRing } from '../../../src/telemetry/flow-ring.ts';

/** Four bytes: whether it lives, and a number. */
const format: FlowFormat<number> = {
  recordBytes: 4,
  isLive: (records, at) => records[at] === 1,
  decode: (records, index) => Buffer.from(records.buffer, records.byteOffset).readUIntBE(index * 4 + 1, 3),
};

function pack(records: readonly { readonly live: boolean; readonly value: number }[]): Uint8Array {
  return Buffer.from(
    records.flatMap(({ live, value }) => [live ? 1 : 0, value >> 16, (value >> 8) & 255, value & 255]),
  );
}

const ended = (...values: number[]) => pack(values.map((value) => ({ live: false, value })));

it('keeps the newest ended connections, in order, and tells how many a reader missed', () => {
  const ring = new FlowRing(format, { capacity: 3 });
  ring.append(ended(1, 2));
  expect(ring.ended()).toEqual({ records: [1, 2], lost: 0 });
  const cursor = ring.count;
  ring.append(ended(3, 4));
  expect(ring.ended()).toEqual({ records: [2, 3, 4], lost: 1 });
  expect(ring.ended(cursor)).toEqual({ records: [3, 4], lost: 0 });
  ring.append(ended(5, 6, 7, 8, 9));
  expect(ring.ended(cursor)).toEqual({ records: [7, 8, 9], lost: 4 });
  expect(ring.ended(ring.count)).toEqual({ records: [], lost: 0 });
  // A cursor of an agent that has restarted since.
  expect(ring.ended(1_000_000)).toEqual({ records: [], lost: 0 });
});

it('agrees with a plain list, however the batches are cut', () => {
  const record = fc.record({ live: fc.boolean(), value: fc.nat(1 << 20) });
  fc.assert(
    fc.property(
      fc.array(fc.array(record, { maxLength: 20 }), { maxLength: 20 }),
      fc.integer({ min: 1, max: 16 }),
      (batches, capacity) => {
        const ring = new FlowRing(format, { capacity, now: () => 0 });
        for (const batch of batches) ring.append(pack(batch));
        const all = batches.flat();
        const over = all.filter(({ live }) => !live).map(({ value }) => value);
        expect(ring.count).toBe(over.length);
        expect(ring.ended().records).toEqual(over.slice(-capacity));
        expect(ring.recentlyLive()).toEqual(all.filter(({ live }) => live).map(({ value }) => value));
      },
    ),
  );
});

it('does not hold on to the buffer it was given, and leaves out a torn record', () => {
  const ring = new FlowRing(format);
  const batch = Buffer.concat([
    pack([
      { live: false, value: 1 },
      { live: true, value: 2 },
    ]),
    Buffer.of(0, 0),
  ]);
  ring.append(batch);
  batch.fill(0);
  expect(ring.ended().records).toEqual([1]);
  expect(ring.recentlyLive()).toEqual([2]);
});

it('forgets reports of live connections that are not repeated, and more than it has room for', () => {
  let now = 0;
  const ring = new FlowRing(format, { liveMs: 100, liveCapacity: 2, now: () => now });
  ring.append(pack([{ live: true, value: 1 }]));
  now = 60;
  ring.append(pack([{ live: true, value: 2 }]));
  expect(ring.recentlyLive()).toEqual([1, 2]);
  now = 120;
  expect(ring.recentlyLive()).toEqual([2]);
  ring.append(pack([{ live: true, value: 3 }]));
  ring.append(pack([{ live: true, value: 4 }]));
  expect(ring.recentlyLive()).toEqual([3, 4]);
});
