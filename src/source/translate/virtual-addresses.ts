/**
 * Addresses for hosts of ServiceEntries that have none, so that a connection to one says which host it is for. Every replica
 * finds the same ones without asking: a host's place follows from its name, and where two want one place the older one has it.
 */
import { createHash } from 'node:crypto';
import { parseAddress } from '../../model/address.ts';
import { cidrContains, parseCidr } from '../../model/cidr.ts';
import type { ServiceEntryObject } from '../kubernetes/service-entry.ts';
import { labels } from './label-names.ts';
import type { ClusterIndex, ClusterView } from './view.ts';

/** Where they come from; outside every real network. */
export const virtualRanges: readonly string[] = Object.freeze(['240.240.0.0/16', '2001:2::/48']);
const ranges = virtualRanges.map(parseCidr);

/** The lower 16 bits of an address; neither the first nor the last. */
type Slot = number;
const slots = 0xfffe;
/** Places that a host tries. With a thousand hosts one in a hundred needs the second, and one in 10^8 has none. */
const attempts = 4;

export function wantsVirtualAddress({ metadata, spec }: ServiceEntryObject, host: string): boolean {
  return (
    spec.resolution !== 'NONE' &&
    spec.addresses.length === 0 &&
    // All hosts of such a wildcard are at the one address; which is meant, a waypoint reads in the request.
    (!host.startsWith('*') || spec.resolution === 'DYNAMIC_DNS') &&
    metadata.labels[labels.autoallocate]?.toLowerCase() !== 'false'
  );
}

/** Addresses that a control plane wrote into the status count first; undefined when every place is somebody else's. */
export function virtualAddressesOf(
  view: ClusterView,
  entry: ServiceEntryObject,
  host: string,
): readonly string[] | undefined {
  const written = writtenAddresses(entry, host);
  if (written.length > 0) return written;
  const slot = Array.from({ length: attempts }, (_, attempt) => slotOf(host, attempt)).find((_, attempt) =>
    has(view, host, attempt),
  );
  return slot === undefined
    ? undefined
    : [`240.240.${slot >> 8}.${slot & 255}`, `2001:2::${slot.toString(16)}`];
}

function writtenAddresses({ status }: ServiceEntryObject, host: string): string[] {
  const own = status.addresses.filter((each) => each.host.toLowerCase() === host);
  return own.flatMap(({ value }) => parseAddress(value)?.text ?? []);
}

/** Who could want a place, or has it already. */
export const entriesBySlot: ClusterIndex<'ServiceEntry'> = {
  name: 'service entries by virtual address',
  kind: 'ServiceEntry',
  keysOf: (entry) => {
    const wanted = entry.spec.hosts
      .filter((host) => wantsVirtualAddress(entry, host))
      .flatMap((host) => Array.from({ length: attempts }, (_, attempt) => slotOf(host, attempt)));
    return [...wanted, ...takenSlots(entry)].map(String);
  },
};

function slotOf(host: string, attempt: number): Slot {
  const hash = createHash('sha256').update(`${attempt}/${host}`).digest();
  return 1 + (hash.readUInt32BE() % slots);
}

function takenSlots({ spec, status }: ServiceEntryObject): Slot[] {
  return [...spec.addresses, ...status.addresses.map(({ value }) => value)].flatMap((text) => {
    const address = parseAddress(text);
    const inside =
      address !== undefined && ranges.some((range) => range !== undefined && cidrContains(range, address));
    return inside ? [Number(address.value & 0xffffn)] : [];
  });
}

interface Contender {
  readonly host: string;
  readonly attempt: number;
  readonly createdAt: string;
}

/** Whether the host's place of this attempt is its own: nobody comes before it who did not find an earlier one. */
function has(view: ClusterView, host: string, attempt: number): boolean {
  const slot = slotOf(host, attempt);
  const entries = view.indexed(entriesBySlot, String(slot));
  const isTaken = entries.some(
    (entry) => takenSlots(entry).includes(slot) && writtenAddresses(entry, host).length === 0,
  );
  if (isTaken) return false;
  const contenders = contendersFor(entries, slot);
  const self = contenders.find((each) => each.host === host && each.attempt === attempt);
  return contenders.every(
    (each) =>
      each.host === host ||
      (self !== undefined && compare(self, each) < 0) ||
      // Its earlier places are asked for with fewer attempts each time, so this ends.
      Array.from({ length: each.attempt }, (_, earlier) => earlier).some((earlier) =>
        has(view, each.host, earlier),
      ),
  );
}

/** Each host with its oldest entry. */
function contendersFor(entries: readonly ServiceEntryObject[], slot: Slot): Contender[] {
  const found = new Map<string, Contender>();
  for (const entry of entries) {
    // One that does not say when it was made gives way to those that do.
    const createdAt = entry.metadata.creationTimestamp ?? '~';
    for (const host of entry.spec.hosts) {
      if (!wantsVirtualAddress(entry, host) || writtenAddresses(entry, host).length > 0) continue;
      for (let attempt = 0; attempt < attempts; attempt++) {
        if (slotOf(host, attempt) !== slot) continue;
        const known = found.get(host);
        const before = known === undefined || compare({ host, attempt, createdAt }, known) < 0;
        if (before) found.set(host, { host, attempt, createdAt });
      }
    }
  }
  return [...found.values()];
}

function compare(left: Contender, right: Contender): number {
  return (
    left.attempt - right.attempt ||
    compareText(left.createdAt, right.createdAt) ||
    compareText(left.host, right.host)
  );
}

const compareText = (left: string, right: string) => (left < right ? -1 : Number(left > right));
