// Counts of passed, failed and skipped: each runner keeps its own in build/tally/<name>.json, `.ci/run` adds them up.
// As a program: `tally.js add NAME PASSED FAILED SKIPPED`, `tally.js clear`, `tally.js sum` (exit 1 on failures, or on
// skips where HADAL_NO_SKIPS=1).
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const directory = fileURLToPath(new URL('../build/tally', import.meta.url));

/** @param {{ passed: number, failed: number, skipped: number, notes?: string[] }} counts */
export function keepTally(name, counts) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${name}.json`), JSON.stringify(counts));
}

export function clearTallies() {
  rmSync(directory, { recursive: true, force: true });
}

/** Sum over the named tallies, or over all. */
export function sumTallies(names) {
  mkdirSync(directory, { recursive: true });
  const files = readdirSync(directory).filter(
    (file) => names === undefined || names.includes(file.replace(/\.json$/, '')),
  );
  const sum = { passed: 0, failed: 0, skipped: 0, notes: [] };
  for (const file of files) {
    const { passed, failed, skipped, notes = [] } = JSON.parse(readFileSync(join(directory, file), 'utf8'));
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
    sum.notes.push(...notes);
  }
  return sum;
}

/** Prints the notes and, last, the one line; returns the exit status. */
export function printSum({ passed, failed, skipped, notes }) {
  for (const note of notes) console.log(note);
  const skipsForbidden = process.env.HADAL_NO_SKIPS === '1' && skipped > 0;
  if (skipsForbidden) console.log('skipped tests count as a failure of this run (HADAL_NO_SKIPS=1)');
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed > 0 || passed === 0 || skipsForbidden ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [command, name, ...counts] = process.argv.slice(2);
  if (command === 'clear') clearTallies();
  else if (command === 'sum') process.exitCode = printSum(sumTallies());
  else if (command === 'add' && name !== undefined && counts.length === 3) {
    const [passed, failed, skipped] = counts.map(Number);
    keepTally(name, { passed, failed, skipped, notes: failed > 0 ? [`failed: ${name}`] : [] });
  } else {
    console.error('usage: tally.js clear | sum | add NAME PASSED FAILED SKIPPED');
    process.exitCode = 2;
  }
}
