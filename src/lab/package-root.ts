import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The directory of the package, from `src/lab/` and from `dist/lab/` alike. */
export function packageRoot(): string {
  return dirname(dirname(dirname(fileURLToPath(import.meta.url))));
}

/** Arguments for Node that start this program again, compiled or not. */
export function commandLine(): string[] {
  const path = fileURLToPath(import.meta.url);
  const entry = path.endsWith('.ts') ? 'src/cli/main.ts' : 'dist/cli/main.js';
  return [process.execPath, `${packageRoot()}/${entry}`];
}
