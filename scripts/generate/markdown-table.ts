/** Columns as wide as their widest cell, as the formatter has it. The first row is the head. */
export function markdownTable(rows: readonly (readonly string[])[]): string[] {
  const safe = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = (safe[0] ?? []).map((_, column) => Math.max(...safe.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[], fill: string) =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width, fill)).join(' | ')} |`;
  const [head = [], ...body] = safe;
  return [line(head, ' '), line([], '-'), ...body.map((row) => line(row, ' '))];
}
