import { Option } from 'commander';

export type OutputFormat = 'table' | 'wide' | 'json';

/** `-o`, the same for every command that prints something. */
export function outputOption(...formats: OutputFormat[]): Option {
  return new Option('-o, --output <format>', 'how to print it').choices(formats).default('table');
}

/** JSON as `-o json` prints it. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
