// src/kernel/constants.gen.ts from bpf/shared: the numbers and enums that BPF, native and TypeScript agree on. Offsets of
// structs are not here: TypeScript reads those from the objects' BTF.
import { readFileSync } from 'node:fs';
import type { GeneratedFile } from './main.ts';

export interface Constant {
  /** As in TypeScript: without the `HADAL_` in front. */
  readonly name: string;
  readonly value: number;
}

const definePattern = /^#define HADAL_([A-Z0-9_]+)[ \t]+(0x[0-9a-fA-F]+|\d+)\b/gm;
const enumPattern = /enum hadal_\w+ \{([^}]*)\}/g;
const enumeratorPattern = /\bHADAL_([A-Z0-9_]+) = (\d+)/g;

/** Every `#define` of a number and every enumerator of a header, in its order. */
export function parseConstants(header: string): Constant[] {
  const text = header.replace(/\/\*.*?\*\//gs, '').replace(/\\\n/g, ' ');
  const defines = [...text.matchAll(definePattern)];
  const enumerators = [...text.matchAll(enumPattern)].flatMap((found) => [
    ...String(found[1]).matchAll(enumeratorPattern),
  ]);
  return [...defines, ...enumerators].map((found) => ({ name: String(found[1]), value: Number(found[2]) }));
}

export function constantsFile(root: string): GeneratedFile {
  const found = ['constants.h', 'capture.h', 'exclusions.h', 'turbo.h'].flatMap((file) =>
    parseConstants(readFileSync(`${root}/bpf/shared/${file}`, 'utf8')),
  );
  const lines = [
    '// Made from constants.h, capture.h, exclusions.h and turbo.h of bpf/shared by scripts/generate; do not edit.',
    '',
    ...found.map(({ name, value }) => `export const ${name} = ${value};`),
    '',
  ];
  return { path: 'src/kernel/constants.gen.ts', content: lines.join('\n') };
}
