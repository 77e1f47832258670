#!/usr/bin/env node
// Builds everything that runs: the addon and the load generator (cmake-js, CMake), the BPF objects, dist/ (tsc).
// Incremental; a second build in the same checkout waits for the first. `--only native|ts` builds one half.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const buildDir = join(root, 'build');
const bin = join(root, 'node_modules', '.bin');
const jobs = process.env.HADAL_BUILD_JOBS ?? String(availableParallelism());
const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };

mkdirSync(buildDir, { recursive: true });
if (process.env.HADAL_BUILD_LOCKED !== '1') {
  const { status } = spawnSync(
    'flock',
    ['-o', join(buildDir, '.lock'), process.execPath, ...process.argv.slice(1)],
    {
      stdio: 'inherit',
      env: { ...env, HADAL_BUILD_LOCKED: '1' },
    },
  );
  process.exit(status ?? 1);
}

const only = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1] : undefined;
const failures = [];
if (only !== 'ts') buildNative();
if (only !== 'native') buildTypeScript();
if (failures.length > 0) {
  console.error(`build: failed: ${failures.join(', ')}`);
  process.exit(1);
}

function buildNative() {
  dropStaleKernelTypes();
  if (!isConfigured()) {
    // Only `configure`: cmake-js `compile` answers a failed build by deleting the whole build directory.
    if (!run('cmake-js', ['configure', '--out', buildDir, '--log-level', 'warn'], 'configure')) return;
  }
  // Keep going after an error: a mistake in the addon does not hide one in BPF.
  const keepGoing = existsSync(join(buildDir, 'build.ninja')) ? ['-k', '0'] : ['-k'];
  run('cmake', ['--build', buildDir, '--parallel', jobs, '--', ...keepGoing], 'native');
}

function buildTypeScript() {
  run('tsc', ['-p', 'tsconfig.build.json'], 'dist');
  const program = join(root, 'dist', 'cli', 'main.js');
  if (!existsSync(program)) return;
  chmodSync(program, 0o755);
  // npm links the bins of dependencies only; with this `npx hadal` and npm scripts find the checkout's own program.
  const link = join(bin, 'hadal');
  rmSync(link, { force: true });
  symlinkSync('../../dist/cli/main.js', link);
}

/** A new kernel brings new types; vmlinux.h follows it. */
function dropStaleKernelTypes() {
  const stamp = join(buildDir, 'vmlinux.release');
  const known = existsSync(stamp) ? readFileSync(stamp, 'utf8') : '';
  if (known === release()) return;
  if (existsSync('/sys/kernel/btf/vmlinux')) rmSync(join(buildDir, 'bpf', 'vmlinux.h'), { force: true });
  writeFileSync(stamp, release());
}

/** cmake-js hands include paths of node_modules to the cache, so another lock file means another configure. */
function isConfigured() {
  const cache = join(buildDir, 'CMakeCache.txt');
  if (!existsSync(cache)) return false;
  return statSync(cache).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs;
}

function run(command, args, what) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (error)
    console.error(`build: ${command}: ${error.message}; run scripts/setup, which installs what is missing`);
  if (status !== 0) failures.push(what);
  return status === 0;
}
