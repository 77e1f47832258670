/** Addresses out of what an agent has pinned, whether it runs or not: a CNI plugin's part when any pod comes or goes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BpfMap, NativeBpf } from '../native/types.ts';
import { packagedObjects } from './capture.ts';
import { Pins } from './pins.ts';
import { RowTable } from './row-table.ts';

export interface PinnedAddressesOptions {
  readonly native: NativeBpf;
  readonly bpffs: string;
  readonly instance: string;
  readonly objectDirectory?: string;
}

/**
 * No new connection goes directly to these addresses any more, whoever has them next: it goes to the agent, or is refused while
 * none runs. Returns how many endpoints of rows were taken out; 0 also where nothing is pinned.
 */
export function forgetAddresses(
  { native, bpffs, instance, objectDirectory = packagedObjects }: PinnedAddressesOptions,
  addresses: readonly string[],
): number {
  const pins = new Pins(bpffs, instance);
  const paths = ['outbound_rows', 'direct_targets'].map((name) => pins.map(name));
  if (!paths.every((path) => existsSync(path))) return 0;
  // Not loaded: it tells the types, which the kernel's maps do not.
  const object = native.openObject(join(objectDirectory, 'connect4.bpf.o'));
  const opened: BpfMap[] = [];
  try {
    for (const path of paths) opened.push(native.openPinnedMap(path));
    const [rows, targets] = opened as [BpfMap, BpfMap];
    const table = new RowTable(rows, targets, {
      rowKey: object.type('hadal_row_key'),
      row: object.type('hadal_row'),
      targetKey: object.type('hadal_target_key'),
      target: object.type('hadal_target'),
    });
    return table.removeTargets(addresses);
  } finally {
    for (const map of opened) map.close();
    object.close();
  }
}
