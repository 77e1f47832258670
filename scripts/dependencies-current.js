// Exits 0 when node_modules holds what package-lock.json asks for. Runs under any Node: it decides whether `npm ci` is due.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function packages(file) {
  try {
    return JSON.parse(readFileSync(`${root}${file}`, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

const wanted = packages('package-lock.json') ?? {};
const installed = packages('node_modules/.package-lock.json');
const stale =
  installed === undefined ||
  !existsSync(`${root}node_modules/.bin/node`) ||
  Object.entries(wanted).some(
    ([path, { version, optional }]) =>
      path !== '' && optional !== true && installed[path]?.version !== version,
  );
process.exit(stale ? 1 : 0);
