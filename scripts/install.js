// npm's `install` hook. It stands here so that npm does not run node-gyp for binding.gyp, which would download headers.
// A plain `npm ci` may come before the system packages; then the build is left to scripts/setup, said clearly.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missingForBuild } from './requirements.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = join(root, 'node_modules', '.bin', 'node');

if (process.env.HADAL_SKIP_BUILD === '1') {
  console.log('hadal: HADAL_SKIP_BUILD=1, nothing built; `npm run build` does it');
} else if (!existsSync(node)) {
  console.log(
    'hadal: not built: the npm package `node` is not installed (were install scripts switched off?); run scripts/setup',
  );
} else {
  const missing = missingForBuild();
  if (missing.length > 0) {
    console.log(`hadal: not built, this machine lacks: ${missing.join(', ')}`);
    console.log('hadal: run scripts/setup as root, which installs them and builds');
  } else {
    process.exit(
      spawnSync(node, [join(root, 'scripts', 'build.js')], { cwd: root, stdio: 'inherit' }).status ?? 1,
    );
  }
}
