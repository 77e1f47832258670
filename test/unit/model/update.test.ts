import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Authorization, createAuthorization, policyKey } from '../../../src/model/authorization.ts';
import { createChange, type MeshChange } from '../../../src/model/change.ts';
import { diffSnapshots, type SnapshotDiff } from '../../../src/model/diff.ts';
import { createService, type Service, serviceKey } from '../../../src/model/service.ts';
import { createSnapshot, emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload, type Workload } from '../../../src/model/workload.ts';
import { policy, service, workload } from './arbitraries.ts';

/** Few names and addresses, so that versions of one resource follow each other and resources meet at one place. */
const uids = ['pod-1', 'pod-2', 'pod-3', 'pod-4'];
const addresses = ['10.0.0.1', '10.0.0.2', '10.1.0.0', 'fd00::1'];
const some = <T>(values: readonly T[]) => fc.subarray([...values], { maxLength: 3 });

const workloads: fc.Arbitrary<Workload> = fc
  .tuple(workload, fc.constantFrom(...uids), some(addresses))
  .map(([fields, uid, own]) => createWorkload({ ...fields, uid, addresses: own }));

const services: fc.Arbitrary<Service> = fc
  .tuple(
    service,
    fc.array(fc.tuple(fc.constantFrom(...addresses), fc.constantFrom(undefined, 16, 32)), { maxLength: 3 }),
  )
  .map(([fields, own]) =>
    createService({
      ...fields,
      addresses: own.map(([address, length]) => ({ network: '', address, length })),
    }),
  );

const serviceNames = ['a', 'b', 'shop', 'bank-1'].flatMap((namespace) =>
  ['a.shop.svc', 'b.shop.svc', 'example.com'].map((hostname) => `${namespace}/${hostname}`),
);
const policyNames = ['a', 'b', 'shop', 'bank-1'].flatMap((namespace) =>
  ['a', 'b', 'shop', 'bank-1'].map((name) => `${namespace}/${name}`),
);

const changes: fc.Arbitrary<MeshChange> = fc
  .record({
    workloads: fc.record({ upserts: fc.array(workloads, { maxLength: 3 }), removals: some(uids) }),
    services: fc.record({ upserts: fc.array(services, { maxLength: 3 }), removals: some(serviceNames) }),
    policies: fc.record({
      upserts: fc.array(policy, { maxLength: 3 }),
      removals: some(policyNames),
      unknown: some(policyNames),
    }),
  })
  .map(createChange);

/** The plain way: all resources in maps, everything made anew. */
class PlainMesh {
  readonly workloads = new Map<string, Workload>();
  readonly services = new Map<string, Service>();
  readonly policies = new Map<string, Authorization>();
  gone = new Set<string>();

  apply({ workloads, services, policies }: MeshChange): MeshSnapshot {
    for (const name of workloads.removals) this.workloads.delete(name);
    for (const each of workloads.upserts) this.workloads.set(each.uid, each);
    for (const name of services.removals) this.services.delete(name);
    for (const each of services.upserts) this.services.set(serviceKey(each), each);
    for (const name of policies.removals) this.policies.delete(name);
    for (const each of policies.upserts) this.policies.set(policyKey(each), each);
    const back = new Set([...policies.upserts.map(policyKey), ...(policies.unknown ?? [])]);
    const given = new Set([...this.workloads.values()].flatMap((each) => each.authorizationPolicies));
    const gone = [...this.gone, ...policies.removals].filter((name) => given.has(name) && !back.has(name));
    this.gone = new Set(gone);
    return this.snapshot();
  }

  snapshot(): MeshSnapshot {
    const resources = {
      workloads: [...this.workloads.values()],
      services: [...this.services.values()],
      policies: [...this.policies.values()],
    };
    return createSnapshot(resources, this.gone);
  }
}

/** Everything that a snapshot answers, over all names and addresses of these tests. */
function answers(snapshot: MeshSnapshot): unknown {
  const places = ['', 'net-1', 'elsewhere'].flatMap((network) =>
    [...addresses, '10.1.200.3', 'nonsense'].map((address) => [network, address] as const),
  );
  return {
    workloads: [...snapshot.workloads],
    services: [...snapshot.services],
    policies: [...snapshot.policies],
    sizes: [snapshot.workloads.size, snapshot.services.size, snapshot.policies.size],
    byName: uids.map((uid) => [snapshot.workloads.get(uid), snapshot.workloads.has(uid)]),
    globalPolicies: snapshot.globalPolicies,
    gone: [...snapshot.gonePolicies].sort(),
    workloadsAt: places.map((place) => snapshot.workloadsAt(...place)),
    servicesAt: places.map((place) => snapshot.servicesAt(...place)),
    servicesAround: places.map((place) => snapshot.servicesAround(...place)),
    servicesNamed: ['a.shop.svc', 'b.shop.svc', 'example.com'].map((name) => snapshot.servicesNamed(name)),
    endpoints: serviceNames.map((name) => snapshot.endpointsOf(name)),
    allEndpoints: serviceNames.map((name) => snapshot.allEndpointsOf(name)),
    policiesIn: ['a', 'b', 'shop', 'bank-1'].map((namespace) => snapshot.policiesIn(namespace)),
  };
}

const content = ({ keys, ...changes }: SnapshotDiff) => ({ ...changes, keys: [...keys].sort() });

describe('updateSnapshot', () => {
  it('answers after any history of changes as a snapshot made anew does, and tells the same differences', () => {
    fc.assert(
      fc.property(fc.array(changes, { minLength: 1, maxLength: 6 }), (history) => {
        const plain = new PlainMesh();
        let expected = plain.snapshot();
        let snapshot = emptySnapshot;
        for (const change of history) {
          const before = expected;
          expected = plain.apply(change);
          const updated = updateSnapshot(snapshot, change);
          expect(content(updated.diff)).toEqual(content(diffSnapshots(before, expected)));
          snapshot = updated.snapshot;
          expect(answers(snapshot)).toEqual(answers(expected));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('goes on from a snapshot that was made anew', () => {
    fc.assert(
      fc.property(changes, changes, (first, second) => {
        const plain = new PlainMesh();
        const before = plain.apply(first);
        const { snapshot, diff } = updateSnapshot(before, second);
        const expected = plain.apply(second);
        expect(answers(snapshot)).toEqual(answers(expected));
        expect(content(diff)).toEqual(content(diffSnapshots(before, expected)));
      }),
      { numRuns: 50 },
    );
  });

  it('leaves the snapshot before as it was', () => {
    fc.assert(
      fc.property(changes, changes, (first, second) => {
        const { snapshot } = updateSnapshot(emptySnapshot, first);
        const before = structuredClone(answers(snapshot));
        updateSnapshot(snapshot, second);
        expect(answers(snapshot)).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });

  it('keeps the object that is known when a new one says the same', () => {
    const pod = createWorkload({ uid: 'pod-1', addresses: ['10.0.0.1'] });
    const first = updateSnapshot(emptySnapshot, createChange({ workloads: { upserts: [pod] } })).snapshot;
    const again = createChange({ workloads: { upserts: [createWorkload({ ...pod })] } });
    const { snapshot, diff } = updateSnapshot(first, again);
    expect(snapshot.workloads.get('pod-1')).toBe(pod);
    expect([...diff.keys]).toEqual([]);
  });

  it('knows a policy that is gone from one that was never seen, as long as a workload gives its name', () => {
    const pod = createWorkload({ uid: 'pod-1', authorizationPolicies: ['shop/deny', 'shop/unseen'] });
    const deny = createAuthorization({ namespace: 'shop', name: 'deny', scope: 'WORKLOAD_SELECTOR' });
    let { snapshot } = updateSnapshot(
      emptySnapshot,
      createChange({ workloads: { upserts: [pod] }, policies: { upserts: [deny] } }),
    );
    const step = (change: Parameters<typeof createChange>[0]) => {
      ({ snapshot } = updateSnapshot(snapshot, createChange(change)));
      return [...snapshot.gonePolicies];
    };
    expect(step({ policies: { removals: ['shop/deny'] } })).toEqual(['shop/deny']);
    expect(step({ policies: { unknown: ['shop/deny'] } })).toEqual([]);
    expect(step({ policies: { removals: ['shop/deny', 'shop/nobody-names-it'] } })).toEqual(['shop/deny']);
    expect(step({ workloads: { upserts: [createWorkload({ uid: 'pod-1' })] } })).toEqual([]);
    expect(step({ workloads: { upserts: [pod] } })).toEqual([]);
  });
});

/** Pods in services of ten, as many namespaces as services. */
function meshOf(pods: number): MeshChange {
  const names = Array.from({ length: pods / 10 }, (_, index) => ({
    namespace: `ns-${index % 50}`,
    hostname: `web-${index}.ns-${index % 50}.svc.cluster.local`,
  }));
  return createChange({
    workloads: { upserts: Array.from({ length: pods }, (_, index) => pod(index, names)) },
    services: {
      upserts: names.map((name, index) =>
        createService({
          ...name,
          addresses: [{ network: '', address: `10.96.${index >> 8}.${index & 255}`, length: undefined }],
        }),
      ),
    },
  });
}

function pod(index: number, services: readonly { namespace: string; hostname: string }[], generation = 0) {
  const of = services[Math.floor(index / 10)];
  if (of === undefined) throw new Error(`no service for pod ${index}`);
  return createWorkload({
    uid: `Kubernetes//Pod/${of.namespace}/web-${index}`,
    namespace: of.namespace,
    addresses: [`10.${index >> 8}.${index & 255}.${generation + 1}`],
    services: [{ service: serviceKey(of), ports: [] }],
  });
}

/** A mesh in which one pod after the other changes; `change` tells what that took, in microseconds. */
function changingMesh(pods: number): { change(): number } {
  const mesh = meshOf(pods);
  const names = mesh.services.upserts;
  let { snapshot } = updateSnapshot(emptySnapshot, mesh);
  let round = 0;
  return {
    change() {
      const changed = pod((round * 7919) % pods, names, 1 + (round % 200));
      round++;
      const change = createChange({ workloads: { upserts: [changed] } });
      const begin = performance.now();
      ({ snapshot } = updateSnapshot(snapshot, change));
      snapshot.endpointsOf(changed.services[0]?.service ?? '');
      return (performance.now() - begin) * 1_000;
    },
  };
}

const median = (times: number[]) =>
  times.sort((left, right) => left - right)[times.length >> 1] ?? Number.NaN;

describe('one change', () => {
  it('costs about the same in a mesh of 1,000 and of 10,000 pods', { timeout: 60_000 }, () => {
    const [small, large] = [changingMesh(1_000), changingMesh(10_000)];
    const times = { small: [] as number[], large: [] as number[] };
    // In turns, so that what else the machine does meets both.
    for (let round = 0; round < 2_000; round++) {
      times.small.push(small.change());
      times.large.push(large.change());
    }
    const [ofSmall, ofLarge] = [median(times.small), median(times.large)];
    process.stderr.write(
      `one change: ${ofSmall.toFixed(1)} us of 1,000 pods, ${ofLarge.toFixed(1)} us of 10,000\n`,
    );
    // Made anew it takes tens of milliseconds. The larger trees are a level deeper, and outgrow the processor's cache.
    expect(ofLarge / ofSmall).toBeLessThan(5);
  });
});
