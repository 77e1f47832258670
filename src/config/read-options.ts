import { HadalError } from '../base/errors.ts';
import type { OptionTable, Values } from './option.ts';
import { suggestOption } from './suggest-option.ts';

export type OptionSource = 'default' | 'environment' | 'argument';

export interface OptionTexts {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By the option's name in the table, for example from the command line. They win over the environment. */
  readonly overrides?: Readonly<Record<string, string | undefined>>;
}

/** Finds mistakes that only several values together make; one sentence each, naming the variables. */
export type CrossCheck<Table extends OptionTable> = (values: Values<Table>) => readonly string[];

export interface Configuration<Table extends OptionTable> {
  /** Frozen. */
  readonly values: Values<Table>;
  readonly sources: Readonly<Record<keyof Table, OptionSource>>;
  /** HADAL_* variables that are no options and resemble none. */
  readonly warnings: readonly string[];
}

/**
 * Reads every option, then reports all mistakes at once, misspelled names included: `ERR_CONFIG`, with
 * `details.problems`.
 */
export function readOptions<Table extends OptionTable>(
  table: Table,
  texts: OptionTexts,
  crossCheck: CrossCheck<Table> = () => [],
): Configuration<Table> {
  const values: Record<string, unknown> = {};
  const sources: Record<string, OptionSource> = {};
  const problems: string[] = [];
  for (const [name, row] of Object.entries(table)) {
    const found = findText(name, row.env, texts);
    const given = found?.text ?? (typeof row.default === 'string' ? row.default : row.default(values));
    sources[name] = found?.source ?? 'default';
    try {
      values[name] = row.parse(given);
    } catch (error) {
      const where = sources[name] === 'argument' ? name : row.env;
      problems.push(`${where}=${JSON.stringify(given)}: ${(error as Error).message}`);
    }
  }
  if (problems.length === 0) {
    problems.push(...crossCheck(values as Values<Table>));
  }
  const { mistakes, warnings } = checkNames(table, texts);
  problems.push(...mistakes);
  if (problems.length > 0) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    const message = `the configuration has ${count}; see docs/configuration.md\n${problems.map((each) => `  ${each}`).join('\n')}`;
    throw new HadalError('ERR_CONFIG', message, { details: { problems } });
  }
  return Object.freeze({
    values: Object.freeze(values) as Values<Table>,
    sources: Object.freeze(sources) as Record<keyof Table, OptionSource>,
    warnings: Object.freeze(warnings),
  });
}

/** One line per option for the log at start: name, value as written, and where it came from. */
export function describeOptions<Table extends OptionTable>(
  table: Table,
  configuration: Configuration<Table>,
): readonly { readonly env: string; readonly value: unknown; readonly source: OptionSource }[] {
  return Object.entries(table).map(([name, { env }]) => ({
    env,
    value: configuration.values[name as keyof Table],
    source: configuration.sources[name as keyof Table],
  }));
}

/** Options that somebody chose, with where, for the first line of a role's log. */
export function chosenOptions<Table extends OptionTable>({
  values,
  sources,
}: Pick<Configuration<Table>, 'values' | 'sources'>): Record<string, string> {
  const chosen = Object.entries<OptionSource>(sources).filter(([, source]) => source !== 'default');
  return Object.fromEntries(
    chosen.map(([name, source]) => [name, `${plainText(values[name as keyof Table])} (${source})`]),
  );
}

function plainText(value: unknown): string {
  if (Array.isArray(value)) return value.map(plainText).join(',');
  return typeof value === 'object' && value !== null && 'text' in value ? String(value.text) : String(value);
}

/** An empty variable counts as given: some options mean something by it. */
function findText(
  name: string,
  env: string,
  { environment, overrides = {} }: OptionTexts,
): { readonly text: string; readonly source: OptionSource } | undefined {
  const argument = Object.hasOwn(overrides, name) ? overrides[name] : undefined;
  if (argument !== undefined) {
    return { text: argument, source: 'argument' };
  }
  const variable = environment[env];
  return variable === undefined ? undefined : { text: variable, source: 'environment' };
}

/** Read by scripts, the lab and tests, not by the agent. */
const foreignVariable = /^HADAL_(?:BUILD|SKIP|TEST|LAB|BENCH|DEMO|FUZZ|CI)_/;
/** Kubernetes gives every pod variables for each service of its namespace, so also for one called `hadal-…`. */
const serviceVariable =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;

function checkNames(table: OptionTable, { environment, overrides = {} }: OptionTexts) {
  const known = Object.values(table).map(({ env }) => env);
  const mistakes: string[] = [];
  const warnings: string[] = [];
  for (const [name, text] of Object.entries(environment)) {
    const isForeign = !/^hadal_/i.test(name) || known.includes(name) || foreignVariable.test(name);
    if (text === undefined || isForeign) {
      continue;
    }
    const meant = suggestOption(name, known);
    if (meant !== undefined) {
      mistakes.push(`${name} is not an option; did you mean ${meant}?`);
    } else if (!serviceVariable.test(name)) {
      warnings.push(`${name} is not an option and has no effect`);
    }
  }
  for (const name of Object.keys(overrides).filter((each) => !Object.hasOwn(table, each))) {
    const meant = suggestOption(name, Object.keys(table));
    mistakes.push(`${name} is not an option${meant === undefined ? '' : `; did you mean ${meant}?`}`);
  }
  return { mistakes, warnings };
}
