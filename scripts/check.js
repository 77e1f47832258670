// `npm run check`: everything that can be said about the sources without running them. All steps run, so that one run names
// all mistakes.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const env = {
  ...process.env,
  PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`,
  FORCE_COLOR: '0',
};

/** @type {[string, string[]][]} */
const steps = [
  ['types', ['tsc', '--noEmit']],
  ['biome', ['biome', 'check', '--error-on-warnings', '.']],
  ['clang-format', ['sh', '-c', 'scripts/c-sources | xargs -r clang-format --dry-run -Werror']],
  ['layers', ['vitest', 'run', '--project', 'unit', '--reporter=dot', 'test/unit/layers.test.ts']],
  ['generated files', ['node', 'scripts/generate/main.ts', '--check']],
];

let failed = 0;
for (const [name, [command, ...args]] of steps) {
  const started = performance.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (status === 0) {
    console.log(`ok      ${name} (${seconds} s)`);
    continue;
  }
  failed += 1;
  console.log(`FAILED  ${name} (${seconds} s)\n${error ? `${error.message}\n` : ''}${stdout}${stderr}`);
}
console.log(failed === 0 ? 'check: all is well' : `check: ${failed} of ${steps.length} steps failed`);
process.exitCode = failed === 0 ? 0 : 1;
