import { expect, it } from 'vitest';
import { swapDevicesBehind } from '../../../src/identity/swap.ts';

const head = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
const mounts = [
  '/dev/vda1 / ext4 rw,relatime 0 0',
  'tmpfs /run tmpfs rw,nosuid,nodev 0 0',
  'tmpfs /run/quiet tmpfs rw,noswap 0 0',
  'tmpfs /run/quieter tmpfs rw,noswap 0 0',
].join('\n');

it.each([
  ['no swap', '/run/hadal', head, []],
  [
    'a partition and a file',
    '/run/hadal',
    `${head}/dev/sda2   partition 1 0 -2\n/swap.img file 1 0 -3\n`,
    ['/dev/sda2', '/swap.img'],
  ],
  ['compressed memory', '/run/hadal', `${head}/dev/zram0 partition 1 0 100\n`, []],
  ['a mount without swap', '/run/quiet/certificates', `${head}/dev/sda2 partition 1 0 -2\n`, []],
  [
    'a directory beside one without swap',
    '/run/quiet-not',
    `${head}/dev/sda2 partition 1 0 -2\n`,
    ['/dev/sda2'],
  ],
])('keys in memory reach a disk by swapping: %s', (_, directory, swaps, devices) => {
  expect(swapDevicesBehind(directory, swaps, mounts)).toEqual(devices);
});
