import type { Parser } from './parsers.ts';

/** One row of the table of options. */
export interface Option<T> {
  /** Environment variable. */
  readonly env: string;
  readonly group: OptionGroup;
  readonly parse: Parser<T>;
  /** Text as an operator would write it, so that defaults go through the same parser. */
  readonly default: string | ((settled: Settled) => string);
  /** How a default that is worked out reads in the documentation. */
  readonly defaultDoc?: string;
  /** Unit or form of the value. */
  readonly unit: string;
  readonly doc: string;
}

/** Values of the rows above, for defaults that follow from them. */
export type Settled = Readonly<Record<string, unknown>>;

export const optionGroups = [
  'Source',
  'Mesh',
  'Places',
  'Authority',
  'Control plane',
  'Capture',
  'Names',
  'Tunnel',
  'Limits',
  'Ports',
  'Lifecycle',
  'Logs',
] as const;
export type OptionGroup = (typeof optionGroups)[number];

/** Keeps the type of each row's value, which a plain annotation of the table would lose. */
export function option<T>(row: Option<T>): Option<T> {
  return Object.freeze(row);
}

export type OptionTable = Readonly<Record<string, Option<unknown>>>;

export type Values<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never;
};
