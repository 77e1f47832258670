import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeltaDiscoveryResponse } from '../../../src/proto/discovery.gen.ts';
import { convertResource } from '../../../src/xds/codec.ts';
import {
  formatGeneration,
  isBehind,
  laterGeneration,
  neededOf,
  parseGeneration,
} from '../../../src/xds/generation.ts';
import { ResourceStore, type StoreChange } from '../../../src/xds/resource-store.ts';
import { ServerSubscription, servedTypes } from '../../../src/xds/server-subscription.ts';
import { addressType } from '../../../src/xds/type-urls.ts';
import { change, endpointOf, pod, policy, service, serviceName, uid } from './mesh.ts';

const names = ({ upserts, removals }: StoreChange) => [
  ...upserts.map(({ name }) => name),
  ...removals.map(({ name }) => `no ${name}`),
];

describe('the store of a control plane', () => {
  it('says what a change did, and passes over what is as it was', () => {
    const store = new ResourceStore();
    const told: StoreChange[] = [];
    const unfollow = store.follow((applied) => told.push(applied));
    const first = change({ workloads: { upserts: [pod('a')] }, policies: { upserts: [policy('p')] } });
    expect(names(store.apply(first))).toEqual([uid('a'), 'shop/p']);
    expect(names(store.apply(first))).toEqual([]);
    const second = change({ workloads: { removals: [uid('a'), uid('never')] } });
    expect(names(store.apply(second))).toEqual([`no ${uid('a')}`]);
    expect(told.map(names)).toEqual([[uid('a'), 'shop/p'], [`no ${uid('a')}`]]);
    unfollow();
    store.apply(first);
    expect(told).toHaveLength(2);
    expect(store.counts).toEqual({ workloads: 1, services: 0, policies: 1 });
  });

  it('counts its changes, where nobody says how much was seen', () => {
    const store = new ResourceStore();
    const counts = () => Number(store.generationText.split(';changes=')[1]);
    expect(counts()).toBe(0);
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    expect(counts()).toBe(1);
    expect(isBehind(new ResourceStore().generation, store.generation)).toBe(false);
  });

  it('gives equal content equal versions, and different content different ones', () => {
    const [one, other] = [new ResourceStore(), new ResourceStore()];
    for (const store of [one, other]) store.apply(change({ workloads: { upserts: [pod('a')] } }));
    const version = one.get('workloads', uid('a'))?.version;
    expect(version).toMatch(/^[\w-]{16}$/);
    expect(other.get('workloads', uid('a'))?.version).toBe(version);
    one.apply(change({ workloads: { upserts: [pod('a', { status: 'UNHEALTHY' })] } }));
    expect(one.get('workloads', uid('a'))?.version).not.toBe(version);
  });

  it('keeps the last good version of what cannot be written, and names it', () => {
    const store = new ResourceStore();
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    const version = store.get('workloads', uid('a'))?.version;
    const bad = pod('a', { addresses: ['10.0.0.one'] });
    expect(names(store.apply(change({ workloads: { upserts: [bad, pod('b')] } })))).toEqual([uid('b')]);
    expect(store.get('workloads', uid('a'))?.version).toBe(version);
    expect(store.problems).toEqual([
      { kind: 'workloads', name: uid('a'), reason: '"10.0.0.one" is no IP address' },
    ]);
    // One that was written by half leaves nothing behind in the next.
    store.apply(change({ workloads: { upserts: [pod('a', { capacity: -1 }), pod('c')] } }));
    const entry = store.get('workloads', uid('c'))?.entry(addressType) ?? new Uint8Array();
    const [resource] = DeltaDiscoveryResponse.decode(entry).resources;
    expect(convertResource(addressType, resource!)).toMatchObject({ value: pod('c') });
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    expect(store.problems).toEqual([]);
  });

  it('writes a resource once, however many ask for it', () => {
    const store = new ResourceStore();
    store.apply(change({ workloads: { upserts: [pod('a')] } }));
    const resource = store.get('workloads', uid('a'));
    expect(resource?.entry(addressType)).toBe(resource?.entry(addressType));
    expect(DeltaDiscoveryResponse.decode(resource?.entry(addressType) ?? new Uint8Array())).toMatchObject({
      resources: [{ name: uid('a'), version: resource?.version, aliases: ['/10.0.0.1'] }],
    });
  });

  it('forgets the addresses and services that a resource no longer has', () => {
    const store = new ResourceStore();
    const found = (key: string) => [...store.find(['services', 'workloads'], key)].map(({ name }) => name);
    store.apply(
      change({
        workloads: { upserts: [pod('a', { services: endpointOf('front') }), pod('b')] },
        services: { upserts: [service('front')] },
      }),
    );
    expect(found('/10.0.0.1')).toEqual([uid('a'), uid('b')]);
    expect(found('/10.96.0.1')).toEqual([serviceName('front'), uid('a')]);
    store.apply(
      change({ workloads: { upserts: [pod('a', { addresses: ['10.0.0.2'] })], removals: [uid('b')] } }),
    );
    expect(found('/10.0.0.1')).toEqual([]);
    expect(found('/10.0.0.2')).toEqual([uid('a')]);
    expect(found(serviceName('front'))).toEqual([serviceName('front')]);
  });
});

describe('what a subscription tells', () => {
  const label = fc.constantFrom('a', 'b', 'c', 'd');
  const onlyFew = <T>(value: fc.Arbitrary<T>) => fc.array(value, { maxLength: 3 });
  const somePod = fc
    .tuple(label, fc.constantFrom('10.0.0.1', '10.0.0.2'), fc.constantFrom('x', 'y'), onlyFew(label))
    .map(([name, address, node, services]) =>
      pod(name, { addresses: [address], node, services: endpointOf(...new Set(services)) }),
    );
  const someService = fc
    .tuple(label, fc.constantFrom('10.96.0.1', '10.96.0.2'))
    .map(([name, address]) => service(name, address));
  const someChange = fc
    .record({
      pods: onlyFew(somePod),
      services: onlyFew(someService),
      gone: onlyFew(label),
      ended: onlyFew(label),
    })
    .map(({ pods, services, gone, ended }) => {
      const newest = <T>(values: T[], nameOf: (value: T) => string) => [
        ...new Map(values.map((value) => [nameOf(value), value])).values(),
      ];
      const upserted = new Set([
        ...pods.map(({ uid: name }) => name),
        ...services.map(({ name }) => serviceName(name)),
      ]);
      return change({
        workloads: {
          upserts: newest(pods, ({ uid: name }) => name),
          removals: gone.map(uid).filter((name) => !upserted.has(name)),
        },
        services: {
          upserts: newest(services, ({ name }) => name),
          removals: ended.map(serviceName).filter((name) => !upserted.has(name)),
        },
      });
    });
  const key = fc.oneof(
    label.map(uid),
    label.map(serviceName),
    fc.constantFrom('/10.0.0.1', '/10.0.0.2', '/10.96.0.1', '/10.96.0.2'),
  );
  const step = fc.oneof(
    { weight: 5, arbitrary: someChange.map((made) => ({ what: 'change' as const, made })) },
    { weight: 3, arbitrary: fc.constant({ what: 'take' as const }) },
    { weight: 1, arbitrary: fc.constant({ what: 'reconnect' as const }) },
    { weight: 2, arbitrary: key.map((asked) => ({ what: 'ask' as const, asked })) },
    { weight: 1, arbitrary: key.map((asked) => ({ what: 'stop' as const, asked })) },
  );

  /** An agent beside the store, which takes what it is told now and then, and loses its stream now and then. */
  class Follower {
    readonly has = new Map<string, string>();
    readonly keys = new Set<string>();
    readonly #store: ResourceStore;
    readonly #isWildcard: boolean;
    #subscription: ServerSubscription;

    constructor(store: ResourceStore, isWildcard: boolean) {
      this.#store = store;
      this.#isWildcard = isWildcard;
      this.#subscription = this.connect();
      store.follow((made) => this.#subscription.onChange(made));
    }

    connect(): ServerSubscription {
      const kinds = servedTypes.get(addressType) ?? [];
      this.#subscription = new ServerSubscription(addressType, kinds, this.#store, 50_000);
      this.#subscription.request({
        resourceNamesSubscribe: this.#isWildcard ? [] : ['*', ...this.keys],
        resourceNamesUnsubscribe: this.#isWildcard ? [] : ['*'],
        initialResourceVersions: new Map(this.has),
      });
      return this.#subscription;
    }

    ask(asked: string): void {
      this.keys.add(asked);
      this.#request([asked], []);
    }

    stop(asked: string): void {
      this.keys.delete(asked);
      this.#request([], [asked]);
    }

    take(maxBytes: number): boolean {
      const batch = this.#subscription.take(maxBytes);
      for (const name of batch?.removed ?? []) this.has.delete(name);
      for (const { name, version } of batch?.upserts ?? []) this.has.set(name, version);
      return batch !== undefined;
    }

    #request(resourceNamesSubscribe: string[], resourceNamesUnsubscribe: string[]): void {
      const initialResourceVersions = new Map<string, string>();
      this.#subscription.request({
        resourceNamesSubscribe,
        resourceNamesUnsubscribe,
        initialResourceVersions,
      });
    }
  }

  it('to one that wants everything is in the end what the store has, whatever came in between', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(1, 300, 1e6), (steps, maxBytes) => {
        const store = new ResourceStore();
        const follower = new Follower(store, true);
        for (const each of steps) {
          if (each.what === 'change') store.apply(each.made);
          if (each.what === 'take') follower.take(maxBytes);
          if (each.what === 'reconnect') follower.connect();
        }
        while (follower.take(maxBytes));
        const all = [...store.all('services'), ...store.all('workloads')];
        expect(new Map([...follower.has].sort())).toEqual(
          new Map(all.map(({ name, version }) => [name, version] as const).sort()),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('to one that asks by name is all that its names mean, and what it has is never stale', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(1, 300, 1e6), (steps, maxBytes) => {
        const store = new ResourceStore();
        const follower = new Follower(store, false);
        const stopped = new Set<string>();
        for (const each of steps) {
          if (each.what === 'change') store.apply(each.made);
          if (each.what === 'take') follower.take(maxBytes);
          if (each.what === 'reconnect') follower.connect();
          if (each.what === 'ask') follower.ask(each.asked);
          if (each.what === 'stop') {
            follower.stop(each.asked);
            stopped.add(each.asked);
          }
        }
        while (follower.take(maxBytes));
        for (const asked of follower.keys) {
          for (const { name, version } of store.find(['services', 'workloads'], asked)) {
            expect(follower.has.get(name)).toBe(version);
          }
        }
        // What it no longer asks for it need not hear of.
        if (stopped.size > 0) return;
        for (const [name, version] of follower.has) {
          const now = store.get('workloads', name) ?? store.get('services', name);
          expect(version).toBe(now?.version);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a generation', () => {
  const position = fc.tuple(
    fc.constantFrom('pods', 'services', 'apps/v1'),
    fc.bigInt({ min: 0n, max: 2n ** 64n }),
  );
  const generation = fc
    .tuple(
      fc.constantFrom('one', 'two'),
      fc.uniqueArray(position, { minLength: 1, selector: ([source]) => source }),
    )
    .map(([lineage, positions]) => ({ lineage, positions: new Map(positions) }));
  /** With where something was told for the last time. */
  const told = generation.map(({ lineage, positions }) => ({
    lineage,
    positions,
    told: new Map(Array.from(positions, ([source, position]) => [source, position / 2n] as const)),
  }));

  it('is read as it was written', () => {
    fc.assert(
      fc.property(generation, (value) => {
        expect(parseGeneration(formatGeneration(value))).toEqual(value);
      }),
    );
    for (const text of ['', 'v1', 'a;b', 'a;b=-1', 'a;b=1;', '2026-01-01T00:00:00Z/12', 'x'.repeat(10_000)]) {
      expect(parseGeneration(text)).toBeUndefined();
    }
    fc.assert(fc.property(fc.string(), (text) => void parseGeneration(text)));
  });

  it('that was told less than it has seen needs only what it was told', () => {
    fc.assert(
      fc.property(told, (value) => {
        const read = parseGeneration(formatGeneration(value));
        expect(read && neededOf(read)).toEqual(neededOf(value));
        expect(isBehind(value, neededOf(value))).toBe(false);
      }),
    );
    fc.assert(
      fc.property(told, told, (one, other) => {
        const later = laterGeneration(one, other);
        expect(isBehind(later, neededOf(other))).toBe(false);
        if (one.lineage === other.lineage) expect(isBehind(later, neededOf(one))).toBe(false);
      }),
    );
    expect(
      formatGeneration({ lineage: 'a', positions: new Map([['p', 9n]]), told: new Map([['p', 7n]]) }),
    ).toBe('a;p=9@7');
  });

  it('is behind another only in its own lineage, and never behind what both make together', () => {
    fc.assert(
      fc.property(generation, generation, (one, other) => {
        const later = laterGeneration(one, other);
        expect(isBehind(later, other)).toBe(false);
        expect(isBehind(later, one)).toBe(false);
        if (one.lineage !== other.lineage) expect(isBehind(one, other)).toBe(false);
      }),
    );
    const at = (pods: bigint) => ({ lineage: 'a', positions: new Map([['pods', pods]]) });
    expect([isBehind(at(1n), at(2n)), isBehind(at(2n), at(2n)), isBehind(at(3n), at(2n))]).toEqual([
      true,
      false,
      false,
    ]);
    expect([isBehind(undefined, at(2n)), isBehind(at(1n), undefined)]).toEqual([false, false]);
  });
});
