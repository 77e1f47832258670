import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mostSlots, shareSlots } from '../../../src/tunnel/slots.ts';

const weights = fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: mostSlots });
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

describe('slots of weights', () => {
  it.each<[readonly number[], readonly number[]]>([
    [[], []],
    [[7], [1]],
    [
      [1, 1, 1],
      [1, 1, 1],
    ],
    [
      [10, 20, 70],
      [1, 2, 7],
    ],
    [
      [99, 1],
      [99, 1],
    ],
    [
      [1_000_000, 1],
      [255, 1],
    ],
    // 85.33 each: the one that is left goes to the first.
    [
      [1001, 1001, 1003],
      [85, 85, 86],
    ],
  ])('of %j are %j', (given, expected) => {
    expect(shareSlots(given)).toEqual(expected);
  });

  it('are as many as fit, none without, and each within one of its exact share or the least there is', () => {
    fc.assert(
      fc.property(weights, (given) => {
        const slots = shareSlots(given);
        const total = sum(slots);
        expect(slots).toHaveLength(given.length);
        expect(Math.min(...slots)).toBeGreaterThanOrEqual(1);
        expect(total).toBeLessThanOrEqual(mostSlots);
        const exact = given.map((weight) => (weight / sum(given)) * total);
        const small = exact.filter((share) => share < 1).length;
        slots.forEach((count, index) => {
          // What small ones were given beyond their share, the large ones gave.
          const error = count - (exact[index] ?? 0);
          expect(error).toBeLessThanOrEqual(1);
          expect(error).toBeGreaterThanOrEqual(-1 - small);
        });
      }),
    );
  });

  it('are exact where the weights have a measure that fits', () => {
    const small = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(small, fc.integer({ min: 1, max: 1000 }), (given, factor) => {
        const slots = shareSlots(given.map((weight) => weight * factor));
        expect(slots.map((count) => (count * sum(given)) / sum(slots))).toEqual(given);
      }),
    );
  });

  it('of more weights than there are slots go to the first', () => {
    const slots = shareSlots(Array.from({ length: 300 }, () => 1));
    expect([sum(slots), slots[255], slots[256]]).toEqual([256, 1, 0]);
  });
});
