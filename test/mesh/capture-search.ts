/** Looks for texts in what a capture wrote. */
import { readFileSync } from 'node:fs';

/** How often the text stands in the captured packets; no text is longer than a packet, so none is cut in two by us. */
export function occurrences(file: string, text: string): number {
  const bytes = readFileSync(file);
  let count = 0;
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + text.length)) count++;
  return count;
}
