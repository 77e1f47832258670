import type { ChildProcess } from 'node:child_process';

/** Follows a program that prints JSON, an object a line; `latest` is the last one. */
export function lastLineOf<T>(child: ChildProcess, first: T): { latest: T } {
  const seen = { latest: first };
  let rest = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    const line = lines.at(-1);
    if (line !== undefined) seen.latest = JSON.parse(line) as T;
  });
  return seen;
}
