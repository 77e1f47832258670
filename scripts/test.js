// `npm test [-- vitest arguments]`: vitest, then the GoogleTest tests of the native core (all of them only when nothing was
// selected). `--long` adds test/stress. The last line is the sum of both.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keepTally, printSum, sumTallies } from './tally.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const long = args.includes('--long');
const selected = args.filter((argument) => argument !== '--long');
const env = {
  ...process.env,
  PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`,
  ...(long ? { HADAL_LONG: '1' } : {}),
};

function run(command, commandArgs) {
  const { status, error } = spawnSync(command, commandArgs, { cwd: root, stdio: 'inherit', env });
  if (error) console.error(`test: ${command}: ${error.message}`);
  return status === 0;
}

// If vitest dies before it can report, that is one failure and not nothing.
keepTally('vitest', { passed: 0, failed: 1, skipped: 0, notes: ['vitest did not come to its end'] });
let ok = run('vitest', [
  'run',
  '--reporter=default',
  `--reporter=${join(root, 'scripts/vitest-tally.js')}`,
  ...selected,
]);

const names = ['vitest'];
if (selected.length === 0) {
  names.push('native');
  ok = run(join(root, 'scripts', 'native-tests'), ['standalone']) && ok;
}
const status = printSum(sumTallies(names));
process.exitCode = ok ? status : 1;
