/** Whether what is in a tmpfs can get to a disk all the same: memory that is swapped out does. */
import { readFile } from 'node:fs/promises';

/** Devices that memory of the file system may be swapped to; compressed memory (zram) is memory. */
export function swapDevicesBehind(directory: string, swaps: string, mounts: string): string[] {
  if (optionsOfMount(directory, mounts).includes('noswap')) return [];
  return swaps
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s/, 1)[0] ?? '')
    .filter((device) => device !== '' && !/^\/dev\/zram\d/.test(device));
}

/** Of the mount that the directory is on: of those at the longest path the last, which covers the others. */
function optionsOfMount(directory: string, mounts: string): string[] {
  let best = { path: '', options: [] as string[] };
  for (const line of mounts.split('\n')) {
    const [, path = '', , options = ''] = line.split(' ');
    const holds = path === '/' || directory === path || directory.startsWith(`${path}/`);
    if (path !== '' && holds && path.length >= best.path.length) best = { path, options: options.split(',') };
  }
  return best.options;
}

/** Empty where that cannot be read: then there is no swap that this process could know of. */
export async function findSwap(directory: string): Promise<string[]> {
  try {
    const [swaps, mounts] = await Promise.all([
      readFile('/proc/swaps', 'utf8'),
      readFile('/proc/self/mounts', 'utf8'),
    ]);
    return swapDevicesBehind(directory, swaps, mounts);
  } catch {
    return [];
  }
}
