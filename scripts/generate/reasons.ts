// src/model/reasons.gen.ts from bpf/shared/reasons.h: one list of numbers for BPF, native and TypeScript.
import { readFileSync } from 'node:fs';
import type { GeneratedFile } from './main.ts';

interface Reason {
  readonly number: number;
  readonly name: string;
  readonly metric: string;
  readonly text: string;
}

const entryPattern = /\bX\((\d+),\s*([A-Z0-9_]+),\s*"([^"]*)",\s*"([^"]*)"\)/g;

/** All entries of the header, in its order. Throws on a number or name that stands twice. */
export function parseReasons(header: string): Reason[] {
  const found = [...header.replace(/\\\n/g, ' ').matchAll(entryPattern)].map((entry) => ({
    number: Number(entry[1]),
    name: String(entry[2]),
    metric: String(entry[3]),
    text: String(entry[4]),
  }));
  for (const key of ['number', 'name', 'metric'] as const) {
    const seen = new Set<string | number>();
    for (const reason of found) {
      if (seen.has(reason[key])) {
        throw new Error(`bpf/shared/reasons.h: ${key} ${reason[key]} stands twice`);
      }
      seen.add(reason[key]);
    }
  }
  return found;
}

export function reasonsFile(root: string): GeneratedFile {
  const found = parseReasons(readFileSync(`${root}/bpf/shared/reasons.h`, 'utf8'));
  const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = [
    '// Made from bpf/shared/reasons.h by scripts/generate; do not edit.',
    '',
    '/** Numbers of every refusal, bypass and early end, by name. */',
    'export const reasons = Object.freeze({',
    ...found.map(({ name, number }) => `  ${name}: ${number},`),
    '} as const);',
    '',
    'export type ReasonName = keyof typeof reasons;',
    '',
    'export interface ReasonDetails {',
    '  readonly name: ReasonName;',
    '  /** Its name in metrics and JSON. */',
    '  readonly metric: string;',
    '  /** A sentence for an operator. */',
    '  readonly text: string;',
    '}',
    '',
    'export const reasonDetails: ReadonlyMap<number, ReasonDetails> = new Map<number, ReasonDetails>([',
    ...found.map(
      ({ number, name, metric, text }) =>
        `  [${number}, { name: ${quote(name)}, metric: ${quote(metric)}, text: ${quote(text)} }],`,
    ),
    ']);',
    '',
  ];
  return { path: 'src/model/reasons.gen.ts', content: lines.join('\n') };
}
