import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';

/** One line of the result. `ratio` = hadal / baseline, null without a baseline. */
export interface ResultRow {
  readonly row: string;
  readonly unit: string;
  readonly baseline: number | null;
  readonly hadal: number;
  readonly ratio: number | null;
}

export interface ExternalRow {
  readonly row: string;
  readonly unit: string;
  readonly value: number;
}

export function formatTable(rows: readonly ResultRow[]): string {
  return table(
    ['row', 'unit', 'baseline', 'hadal', 'ratio'],
    rows.map((row) => [row.row, row.unit, shown(row.baseline), shown(row.hadal), shown(row.ratio)]),
  );
}

export function formatExternalTable(rows: readonly ExternalRow[]): string {
  return table(
    ['row', 'unit', 'value'],
    rows.map((row) => [row.row, row.unit, shown(row.value)]),
  );
}

/** How far the comparison of no mesh with itself strays from 1, in words; '' when it holds. */
export function weakness(rows: readonly ResultRow[]): string {
  const strays = rows.filter(
    (row) =>
      /^aa\.[a-z0-9]+\.\d+$/.test(row.row) && row.ratio !== null && (row.ratio < 0.97 || row.ratio > 1.03),
  );
  if (strays.length === 0) return '';
  const list = strays.map((row) => `${row.row} ${shown(row.ratio)}`).join(', ');
  return `verdicts of this run are weak: no mesh against itself gave ${list} (should lie within 0.97 to 1.03)`;
}

export function machineFacts(): {
  machine: string;
  kernel: string;
  congestionControl: string;
  commit: string;
} {
  const models = cpus();
  return {
    machine: `${models.length} x ${models[0]?.model ?? arch()}, ${Math.round(totalmem() / 1e9)} GB`,
    kernel: release(),
    congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
    commit: commit(),
  };
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      cwd: import.meta.dirname,
    }).trim();
  } catch {
    return 'unknown';
  }
}

function shown(value: number | null): string {
  if (value === null) return '-';
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(3);
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => (line[column] ?? '').length)),
  );
  const format = (line: readonly string[]): string =>
    line
      .map((cell, column) =>
        column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [format(head), format(widths.map((width) => '-'.repeat(width))), ...lines.map(format)].join('\n');
}
