/** The option that a misspelled name probably means; undefined when none is near enough to say so. */
export function suggestOption(name: string, options: readonly string[]): string | undefined {
  const wanted = name.toUpperCase();
  const near = options
    .map((option) => ({ option, distance: editDistance(wanted, option.toUpperCase()) }))
    .filter(({ option, distance }) => distance <= allowedDistance(option))
    .toSorted((left, right) => left.distance - right.distance);
  return near[0]?.option;
}

/** A third of what tells options apart, at most 3: a short name is soon another one. */
function allowedDistance(option: string): number {
  return Math.min(3, Math.floor(option.replace(/^HADAL_/, '').length / 3));
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
export function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const isSame = left[row - 1] === right[column - 1];
      const isSwap =
        row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      current[column] = Math.min(
        at(previous, column) + 1,
        at(current, column - 1) + 1,
        at(previous, column - 1) + (isSame ? 0 : 1),
        isSwap ? at(beforePrevious, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    beforePrevious = previous;
    previous = current;
  }
  return at(previous, right.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
