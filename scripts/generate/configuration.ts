// docs/configuration.md from the table of options.
import { agentOptions } from '../../src/config/agent-options.ts';
import { type Option, optionGroups } from '../../src/config/option.ts';
import type { GeneratedFile } from './main.ts';
import { markdownTable } from './markdown-table.ts';

export function configurationFile(): GeneratedFile {
  const rows: readonly Option<unknown>[] = Object.values(agentOptions);
  const lines = [
    '# Configuration of the agent',
    '',
    '<!-- Made from src/config/agent-options.ts by scripts/generate; do not edit. -->',
    '',
    'Every option of `hadal agent` is an environment variable. All are checked at start, and all mistakes are told at',
    'once, misspelled names included. The agent logs each value that somebody chose, with where it came from;',
    '`GET /config_dump?section=config` on its admin server has them all.',
    '',
    'Durations are written `500ms`, `20s`, `1m30s`; sizes `64KiB`, `4MiB`; lists are separated by commas.',
  ];
  for (const group of optionGroups) {
    const cells = rows.filter((row) => row.group === group).map(tableRow);
    lines.push(
      '',
      `## ${group}`,
      '',
      ...markdownTable([['variable', 'default', 'value', 'meaning'], ...cells]),
    );
  }
  return { path: 'docs/configuration.md', content: `${lines.join('\n')}\n` };
}

function tableRow(row: Option<unknown>): readonly string[] {
  return [`\`${row.env}\``, defaultOf(row), row.unit, row.doc];
}

function defaultOf(row: Option<unknown>): string {
  if (row.defaultDoc !== undefined) {
    return row.defaultDoc;
  }
  return row.default === '' ? 'empty' : `\`${String(row.default)}\``;
}
