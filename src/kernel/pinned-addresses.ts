/** Addresses out of what an agent has pinned, whether it runs or not: a CNI plugin's part when any pod comes or goes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BpfMap, NativeBpf } from '../native/types.ts';
import { authorizedTuples, forgetAuthorized } from './authorized-tuples.ts';
import { packagedObjects } from './capture.ts';
import { Pins } from './pins.ts';
import { canonical, RowTable } from './row-table.ts';

export interface PinnedAddressesOptions {
  readonly native: NativeBpf;
  readonly bpffs: string;
  readonly instance: string;
  readonly objectDirectory?: string;
}

/**
 * No new connection goes directly to these addresses any more, whoever has them next: it goes to the agent, or is refused while
 * none runs. Nor does anything that went directly from or to them let in a further one. Returns how many endpoints of rows were taken out; 0 also where nothing is pinned.
 */
export function forgetAddresses(
  { native, bpffs, instance, objectDirectory = packagedObjects }: PinnedAddressesOptions,
  addresses: readonly string[],
): number {
  const pins = new Pins(bpffs, instance);
  const paths = ['outbound_rows', 'direct_targets', 'authorized'].map((name) => pins.map(name));
  if (!paths.every((path) => existsSync(path))) return 0;
  // Not loaded: it tells the types, which the kernel's maps do not.
  const object = native.openObject(join(objectDirectory, 'sockops.bpf.o'));
  const opened: BpfMap[] = [];
  try {
    for (const path of paths) opened.push(native.openPinnedMap(path));
    const [rows, targets, authorized] = opened as [BpfMap, BpfMap, BpfMap];
    const table = new RowTable(rows, targets, {
      rowKey: object.type('hadal_row_key'),
      row: object.type('hadal_row'),
      targetKey: object.type('hadal_target_key'),
      target: object.type('hadal_target'),
    });
    const removed = table.removeTargets(addresses);
    const gone = new Set(addresses.map(canonical));
    forgetAuthorized(
      authorizedTuples(authorized, object.type('hadal_tuple'), object.type('hadal_authorization')),
      ({ client, server }) => {
        if (gone.has(client)) return 'source';
        return gone.has(server) ? 'destination' : undefined;
      },
    );
    return removed;
  } finally {
    for (const map of opened) map.close();
    object.close();
  }
}
