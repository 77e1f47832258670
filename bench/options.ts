import { parseArgs } from 'node:util';

/** What `npm run bench -- …` was asked to do. */
export interface BenchOptions {
  /** Rows to measure, by full name. */
  readonly rows: RegExp;
  /** Seconds per side and round. */
  readonly seconds: number;
  readonly rounds: number;
  /** Where the JSON goes; '' for nowhere. */
  readonly json: string;
  /** Bring the lab up without agents and measure whatever mesh the operator started in it. */
  readonly external: boolean;
  /** With `external`: measure once this file exists, instead of at Enter. */
  readonly waitFile: string;
}

export const sliceMs = 500;

const usage = `usage: npm run bench -- [--rows REGEX] [--seconds N] [--rounds N] [--json FILE] [--external] [--wait-file FILE]
rows are matched by their whole name, e.g. --rows '^cross\\.rr64'`;

class UsageError extends Error {
  constructor(problem: string) {
    super(`${problem}\n${usage}`);
    this.name = 'UsageError';
  }
}

export function parseBenchOptions(argv: readonly string[]): BenchOptions {
  const { values } = readArguments(argv);
  return {
    rows: rowPattern(values.rows ?? '.*'),
    seconds: positive('--seconds', values.seconds ?? '3'),
    rounds: positive('--rounds', values.rounds ?? '5'),
    json: values.json ?? '',
    external: values.external ?? false,
    waitFile: values['wait-file'] ?? '',
  };
}

function readArguments(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        rows: { type: 'string' },
        seconds: { type: 'string' },
        rounds: { type: 'string' },
        json: { type: 'string' },
        external: { type: 'boolean' },
        'wait-file': { type: 'string' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function rowPattern(source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw new UsageError(`--rows '${source}': ${(error as Error).message}`);
  }
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0)
    throw new UsageError(`${name} '${text}' is not a positive number`);
  return value;
}
