/** What istioctl prints of an agent's /config_dump. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { IstioWorld } from './world.ts';

export type Noun = 'workload' | 'service' | 'policy' | 'certificate' | 'connections' | 'all';

/** `istioctl ztunnel-config NOUN --file FILE`. */
export async function istioctlTable(
  { assets, machines }: Pick<IstioWorld, 'assets' | 'machines'>,
  noun: Noun,
  dump: string,
): Promise<string> {
  const file = join(machines.directory, `config_dump-${process.pid}.json`);
  writeFileSync(file, dump);
  const env = { ...process.env, HOME: machines.directory };
  const argv = ['ztunnel-config', noun, '--file', file];
  return (await promisify(execFile)(join(assets, 'istioctl'), argv, { env })).stdout;
}

/** A line of a table; the columns are patterns. */
export function row(...columns: readonly string[]): RegExp {
  return new RegExp(`^${columns.join('\\s+')}\\s*$`, 'm');
}
