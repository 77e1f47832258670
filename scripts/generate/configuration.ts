// docs/configuration.md from the table of options.
import { agentOptions } from '../../src/config/agent-options.ts';
import { type Option, optionGroups } from '../../src/config/option.ts';
import type { GeneratedFile } from './main.ts';

export function configurationFile(): GeneratedFile {
  const rows: readonly Option<unknown>[] = Object.values(agentOptions);
  const lines = [
    '# Configuration of the agent',
    '',
    '<!-- Made from src/config/agent-options.ts by scripts/generate; do not edit. -->',
    '',
    'Every option of `hadal agent` is an environment variable. All are checked at start, and all mistakes are told at',
    'once, misspelled names included. The agent logs each value with where it came from.',
    '',
    'Durations are written `500ms`, `20s`, `1m30s`; sizes `64KiB`, `4MiB`; lists are separated by commas.',
  ];
  for (const group of optionGroups) {
    const cells = rows.filter((row) => row.group === group).map(tableRow);
    lines.push('', `## ${group}`, '', ...table([['variable', 'default', 'value', 'meaning'], ...cells]));
  }
  return { path: 'docs/configuration.md', content: `${lines.join('\n')}\n` };
}

/** Columns as wide as their widest cell, as the formatter has it. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[], fill: string) =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width, fill)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head, ' '), line([], '-'), ...body.map((row) => line(row, ' '))];
}

function tableRow(row: Option<unknown>): readonly string[] {
  const cells = [`\`${row.env}\``, defaultOf(row), row.unit, row.doc];
  return cells.map((cell) => cell.replaceAll('|', '\\|'));
}

function defaultOf(row: Option<unknown>): string {
  if (row.defaultDoc !== undefined) {
    return row.defaultDoc;
  }
  return row.default === '' ? 'empty' : `\`${String(row.default)}\``;
}
