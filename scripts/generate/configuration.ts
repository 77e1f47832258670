// docs/configuration.md and docs/control-plane-configuration.md from the tables of options.
import { agentOptions } from '../../src/config/agent-options.ts';
import { controlPlaneOptions } from '../../src/config/control-plane-options.ts';
import { type Option, type OptionTable, optionGroups } from '../../src/config/option.ts';
import type { GeneratedFile } from './main.ts';
import { markdownTable } from './markdown-table.ts';

export function configurationFiles(): GeneratedFile[] {
  return [
    configurationFile({
      path: 'docs/configuration.md',
      title: 'Configuration of the agent',
      source: 'src/config/agent-options.ts',
      command: 'hadal agent',
      program: 'agent',
      table: agentOptions,
    }),
    configurationFile({
      path: 'docs/control-plane-configuration.md',
      title: 'Configuration of the control plane',
      source: 'src/config/control-plane-options.ts',
      command: 'hadal control-plane',
      program: 'control plane',
      table: controlPlaneOptions,
    }),
  ];
}

interface ConfigurationPage {
  readonly path: string;
  readonly title: string;
  readonly source: string;
  readonly command: string;
  readonly program: string;
  readonly table: OptionTable;
}

function configurationFile({
  path,
  title,
  source,
  command,
  program,
  table,
}: ConfigurationPage): GeneratedFile {
  const rows: readonly Option<unknown>[] = Object.values(table);
  const lines = [
    `# ${title}`,
    '',
    `<!-- Made from ${source} by scripts/generate; do not edit. -->`,
    '',
    `Every option of \`${command}\` is an environment variable. All are checked at start, and all mistakes are told at`,
    `once, misspelled names included. The ${program} logs each value that somebody chose, with where it came from;`,
    '`GET /config_dump?section=config` on its admin server has them all.',
    '',
    'Durations are written `500ms`, `20s`, `1m30s`; sizes `64KiB`, `4MiB`; lists are separated by commas.',
  ];
  for (const group of optionGroups) {
    const cells = rows.filter((row) => row.group === group).map(tableRow);
    if (cells.length === 0) continue;
    lines.push(
      '',
      `## ${group}`,
      '',
      ...markdownTable([['variable', 'default', 'value', 'meaning'], ...cells]),
    );
  }
  return { path, content: `${lines.join('\n')}\n` };
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
