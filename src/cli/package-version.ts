import { readFileSync } from 'node:fs';

/** From package.json, which lies two folders up from src/cli and from dist/cli alike. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
