// Writes every generated file of the repository: `node scripts/generate/main.ts`. With `--check` it writes nothing
// and fails when one differs from its source.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { configurationFiles } from './configuration.ts';
import { constantsFile } from './constants.ts';
import { metricsFile } from './metrics.ts';
import { reasonsFile } from './reasons.ts';
import { stateFileSchemaFile } from './state-file-schema.ts';
import { wireFiles } from './wire.ts';

export interface GeneratedFile {
  /** From the repository's root. */
  readonly path: string;
  readonly content: string;
}

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export function generatedFiles(): GeneratedFile[] {
  return [
    reasonsFile(root),
    constantsFile(root),
    ...configurationFiles(),
    metricsFile(),
    stateFileSchemaFile(),
    ...wireFiles(root),
  ];
}

/** Paths of the files that differ from what their source makes. */
export function staleFiles(): string[] {
  return generatedFiles()
    .filter(
      ({ path, content }) =>
        !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== content,
    )
    .map(({ path }) => path);
}

function main(isCheck: boolean): number {
  const stale = staleFiles();
  if (isCheck) {
    for (const path of stale) {
      console.error(`${path} is not what its source makes; run node scripts/generate/main.ts`);
    }
    return stale.length === 0 ? 0 : 1;
  }
  for (const { path, content } of generatedFiles().filter((file) => stale.includes(file.path))) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
    console.log(`wrote ${path}`);
  }
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv.includes('--check'));
}
