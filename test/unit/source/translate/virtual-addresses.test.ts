import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../../src/model/address.ts';
import { cidrContains, parseCidr } from '../../../../src/model/cidr.ts';
import { translateObjects } from '../../../../src/source/translate/mesh.ts';
import { entriesBySlot, virtualRanges } from '../../../../src/source/translate/virtual-addresses.ts';
import { serviceEntry, serviceOf } from './objects.ts';

type Entry = ReturnType<typeof serviceEntry>;

const entryFor = (host: string, metadata: object = {}, status: object = {}, spec: object = {}) =>
  serviceEntry({ hosts: [host], ...spec }, { name: host, ...metadata }, { ...status });
const addresses = (entry: Entry, others: readonly Entry[] = []) =>
  serviceOf(entry, others).addresses.map(({ address }) => address);
const firstSlot = (entry: Entry) => entriesBySlot.keysOf(entry)[0];

/** Two hosts that want the same place first: with 65534 places a few hundred names hold many such pairs. */
const [left, right] = (() => {
  const seen = new Map<string | undefined, string>();
  for (let index = 0; ; index++) {
    const host = `h${index}.example.com`;
    const slot = firstSlot(entryFor(host));
    const known = seen.get(slot);
    if (known !== undefined) return [known, host] as const;
    seen.set(slot, host);
  }
})();

describe('a host without an address', () => {
  it('gets one of each family, out of the ranges that are for it', () => {
    const [v4 = '', v6 = '', ...more] = addresses(entryFor('db.example.com'));
    expect(more).toEqual([]);
    for (const [index, text] of [v4, v6].entries()) {
      const [range, address] = [parseCidr(virtualRanges[index] ?? ''), parseAddress(text)];
      expect(range !== undefined && address !== undefined && cidrContains(range, address)).toBe(true);
    }
  });

  it('keeps it whatever else there is, in any namespace and under any name of its entry', () => {
    const own = addresses(entryFor('db.example.com'));
    const others = Array.from({ length: 500 }, (_, index) => entryFor(`o${index}.example.com`));
    expect(addresses(entryFor('db.example.com', { namespace: 'bank', name: 'x' }), others)).toEqual(own);
  });

  it.each([
    ['has an address', {}, { addresses: ['10.0.0.1'] }, ['10.0.0.1']],
    ['is a wildcard', {}, { hosts: ['*.example.com'] }, []],
    ['is not resolved', {}, { resolution: 'NONE' }, []],
    ['opted out', { labels: { 'networking.istio.io/enable-autoallocate-ip': 'false' } }, {}, []],
  ])('gets none when it %s', (_, metadata, spec, expected) => {
    expect(addresses(entryFor('db.example.com', metadata, {}, spec))).toEqual(expected);
  });

  it('keeps those that another control plane wrote into the status', () => {
    const status = {
      addresses: [
        { host: 'db.example.com', value: '240.240.7.7' },
        { host: 'other', value: '240.240.7.8' },
      ],
    };
    expect(addresses(entryFor('db.example.com', {}, status))).toEqual(['240.240.7.7']);
  });
});

describe('two hosts that want one address', () => {
  const owner = (a: Entry, b: Entry) => {
    const [ofA, ofB] = [addresses(a, [b]), addresses(b, [a])];
    expect(ofA).not.toEqual(ofB);
    expect([...ofA, ...ofB]).toHaveLength(4);
    return [ofA, ofB];
  };

  it.each([
    [left, right],
    [right, left],
  ])('get two, the older entry the one that it had alone: %s before %s', (first, second) => {
    const older = entryFor(first, { creationTimestamp: '2026-01-01T00:00:00Z' });
    const newer = entryFor(second, { creationTimestamp: '2026-01-02T00:00:00Z' });
    expect(owner(older, newer)[0]).toEqual(addresses(older));
    expect(owner(newer, older)[1]).toEqual(addresses(older));
  });

  it('get two by name when they are equally old', () => {
    const [first, second] = [left, right].sort();
    const [a, b] = [entryFor(first ?? ''), entryFor(second ?? '')];
    expect(owner(a, b)[0]).toEqual(addresses(a));
  });

  it('get two when one was written down', () => {
    const [mine] = addresses(entryFor(left));
    const written = entryFor(right, {}, { addresses: [{ host: right, value: mine }] });
    expect(addresses(written, [entryFor(left)])).toEqual([mine]);
    expect(addresses(entryFor(left), [written])).not.toContain(mine);
    const fixed = entryFor('fixed.example.com', {}, {}, { addresses: [mine] });
    expect(addresses(entryFor(left), [fixed])).not.toContain(mine);
  });
});

function addressesOfAll(entries: readonly Entry[]): Map<string, string[]> {
  const { services } = translateObjects(entries);
  const found = services.map(
    (each) => [each.hostname, each.addresses.map(({ address }) => address)] as const,
  );
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('many hosts', () => {
  it('have an address each, and nobody shares', () => {
    const entries = Array.from({ length: 3000 }, (_, index) => entryFor(`n${index}.example.com`));
    expect(new Set([...addressesOfAll(entries).values()].flat()).size).toBe(6000);
  });

  it('have the same addresses whatever the order in which they came', () => {
    const hosts = fc.uniqueArray(fc.constantFrom(left, right, 'a.com', 'b.com', 'c.com'), { minLength: 2 });
    fc.assert(
      fc.property(hosts, fc.infiniteStream(fc.nat()), (names, numbers) => {
        const entries = names.map((name) => entryFor(name));
        const shuffled = entries
          .map((entry) => [numbers.next().value as number, entry] as const)
          .sort(([a], [b]) => a - b)
          .map(([, entry]) => entry);
        expect(addressesOfAll(shuffled)).toEqual(addressesOfAll(entries));
      }),
      { numRuns: 50 },
    );
  });
});
