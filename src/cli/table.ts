/** Text in columns, as wide as their longest cell; numbers to the right. No borders: made to be read, cut and grepped. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  readonly align?: 'left' | 'right';
}

const gap = '  ';

export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const widths = columns.map(({ title, cell }) =>
    Math.max(title.length, ...rows.map((row) => displayed(cell(row)).length)),
  );
  const lines = [
    renderCells(
      columns,
      widths,
      columns.map(({ title }) => title),
    ),
    ...rows.map((row) => renderRow(columns, widths, row)),
  ];
  return `${lines.join('\n')}\n`;
}

/** One line for a table whose rows come one by one; cells longer than their width push the others. */
export function renderRow<Row>(columns: readonly Column<Row>[], widths: readonly number[], row: Row): string {
  return renderCells(
    columns,
    widths,
    columns.map(({ cell }) => displayed(cell(row))),
  );
}

export function renderTitles<Row>(columns: readonly Column<Row>[], widths: readonly number[]): string {
  return renderCells(
    columns,
    widths,
    columns.map(({ title }) => title),
  );
}

function renderCells<Row>(
  columns: readonly Column<Row>[],
  widths: readonly number[],
  cells: readonly string[],
): string {
  return cells
    .map((cell, index) => {
      const width = widths[index] ?? 0;
      return columns[index]?.align === 'right' ? cell.padStart(width) : cell.padEnd(width);
    })
    .join(gap)
    .trimEnd();
}

/** An empty cell shows as `-`, and nothing that came over the wire can move the cursor. */
function displayed(cell: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return cell === '' ? '-' : cell.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
