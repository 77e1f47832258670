/** Begins a read that may never return, and ends without waiting for it. */
import { writeSync } from 'node:fs';
import { nativeAddon } from '../../../src/native/addon.ts';

const [cgroup = '', path = ''] = process.argv.slice(2);
void nativeAddon().readPodFile(cgroup, path);
writeSync(1, 'reads\n');
setTimeout(() => {
  writeSync(1, 'ends\n');
  process.on('exit', () => writeSync(1, 'closed\n'));
  process.exit(0);
}, 300);
