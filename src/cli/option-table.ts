/** The options of a role that runs, from its table: each is a flag as well as an environment variable. */
import { type Command, Option } from 'commander';
import type { OptionTable } from '../config/option.ts';

export function addOptionTable(command: Command, table: OptionTable): Command {
  for (const [name, row] of Object.entries(table)) {
    const usual = row.defaultDoc ?? (typeof row.default === 'string' ? row.default : '');
    const option = new Option(
      `--${flagName(row.env)} <${placeholder(row.unit)}>`,
      `${row.doc}${usual === '' ? '' : ` (default: ${usual})`}`,
    );
    // commander would name it after the flag, which is made of the variable's name, not of the table's.
    option.attributeName = () => name;
    command.addOption(option.helpGroup(`${row.group}:`));
  }
  return command;
}

/** `HADAL_HTTP2_STREAM_WINDOW` is `http2-stream-window`. */
function flagName(env: string): string {
  return env
    .replace(/^HADAL_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
}

function placeholder(unit: string): string {
  return /^[a-z ]+$/i.test(unit) && unit.length <= 12 ? unit.replaceAll(' ', '-').toLowerCase() : 'value';
}
