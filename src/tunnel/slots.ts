/** So many places a row of the kernel has for its endpoints: one of them is picked for each connection, in constant time. */
export const mostSlots = 256;

/**
 * How many of at most `most` slots each weight gets, by the largest remainder: exact where the weights have a common measure that
 * fits. Every weight has one slot at least; weights beyond `most` get none, and the first ones count.
 */
export function shareSlots(weights: readonly number[], most = mostSlots): readonly number[] {
  const counted = weights.slice(0, most);
  const measure = counted.reduce(greatestCommonDivisor, 0);
  const total = counted.reduce((sum, weight) => sum + weight, 0);
  if (counted.length === 0 || measure === 0) return weights.map(() => 0);
  const exact =
    total / measure <= most ? counted.map((weight) => weight / measure) : largestRemainders(counted, most);
  return weights.map((_, index) => exact[index] ?? 0);
}

function largestRemainders(weights: readonly number[], most: number): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight) => (weight / total) * most);
  const slots = shares.map((share) => Math.max(1, Math.floor(share)));
  const left = () => most - slots.reduce((sum, count) => sum + count, 0);
  const byRemainder = shares
    .map((share, index) => ({ index, remainder: share - (slots[index] ?? 0) }))
    .toSorted((a, b) => b.remainder - a.remainder || a.index - b.index);
  for (const { index } of byRemainder.slice(0, Math.max(0, left()))) slots[index] = (slots[index] ?? 0) + 1;
  // Those who got one though their share is less took it from the largest.
  while (left() < 0) {
    const largest = slots.indexOf(Math.max(...slots));
    slots[largest] = (slots[largest] ?? 0) - 1;
  }
  return slots;
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right);
}
