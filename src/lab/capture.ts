/** A packet capture on the fabric by tcpdump, with the kernel's own count of what it lost. */
import type { ChildProcess } from 'node:child_process';
import { HadalError } from '../base/errors.ts';
import { spawnPlaced } from './process.ts';

export interface CaptureStatistics {
  readonly captured: number;
  /** Packets that matched but were lost for want of buffer space: a capture with any proves nothing. */
  readonly dropped: number;
}

export interface FabricCapture {
  readonly file: string;
  stop(): Promise<CaptureStatistics>;
}

export interface CapturePlace {
  readonly netns: string;
  readonly interface: string;
  readonly cgroup: string;
}

const bufferKib = 64 * 1024;

export async function startCapture(
  place: CapturePlace,
  file: string,
  filter: readonly string[] = [],
): Promise<FabricCapture> {
  const argv = [
    'tcpdump',
    '-i',
    place.interface,
    '-n',
    '-U',
    '-s',
    '0',
    '-B',
    String(bufferKib),
    '-Z',
    'root',
    '-w',
    file,
    ...filter,
  ];
  const child = spawnPlaced(place, argv, { env: process.env });
  let said = '';
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('listening on')) resolve();
    });
    child.once('error', reject);
    child.once('close', () =>
      reject(new HadalError('ERR_LAB_CAPTURE', `tcpdump ended at once; is it installed? ${said.trim()}`)),
    );
  });
  return { file, stop: () => stop(child, closed, () => said) };
}

async function stop(
  child: ChildProcess,
  closed: Promise<void>,
  said: () => string,
): Promise<CaptureStatistics> {
  // Packets on their way through the kernel's ring arrive within its block timeout of a second.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  child.kill('SIGINT');
  await closed;
  const count = (what: string) =>
    Number(new RegExp(`(\\d+) packets? ${what}`).exec(said())?.[1] ?? Number.NaN);
  const statistics = { captured: count('captured'), dropped: count('dropped by kernel') };
  if (Number.isNaN(statistics.captured) || Number.isNaN(statistics.dropped)) {
    throw new HadalError('ERR_LAB_CAPTURE', `tcpdump gave no statistics: ${said().trim()}`);
  }
  return statistics;
}
