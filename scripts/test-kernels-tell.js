// Inside the test machine: `test-kernels-tell.js CHECK_JSON STATUS_OF_CHECK` says for scripts/test-kernels what the tests came
// to (build/tally) and what `hadal check` found missing, in lines that it looks for on the console.
import { readFileSync } from 'node:fs';
import { sumTallies } from './tally.js';

const [checkFile, checkStatus] = process.argv.slice(2);
const { passed, failed, skipped, notes } = sumTallies(['vitest', 'mesh']);
const note = (text) => console.log(`HADAL-GUEST-NOTE ${text}`);

for (const { need, ok, lost, since } of readRequirements()) {
  if (ok) continue;
  note(`lacks: ${need}${since === '' ? '' : ` (Linux ${since})`}; ${lost}`);
}
for (const text of notes) note(text);
const checkFailed = checkStatus === '0' ? 0 : 1;
if (checkFailed > 0) note('failed: hadal check says that an agent cannot capture here');
console.log(
  `HADAL-GUEST-TALLY ${passed + 1 - checkFailed} passed, ${failed + checkFailed} failed, ${skipped} skipped`,
);

function readRequirements() {
  try {
    return JSON.parse(readFileSync(checkFile, 'utf8')).requirements;
  } catch (error) {
    note(`failed: hadal check -o json: ${error.message}`);
    return [];
  }
}
