import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CapturedRanges, type ClusterRanges } from '../../../src/agent/capture-ranges.ts';
import { createChange } from '../../../src/model/change.ts';
import { parseCidr } from '../../../src/model/cidr.ts';
import { diffSnapshots } from '../../../src/model/diff.ts';
import { createMeshSettings, meshSettingsService } from '../../../src/model/mesh-settings.ts';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot, emptySnapshot } from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { service, workload } from '../model/arbitraries.ts';

function cidr(text: string) {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

const snapshot = createSnapshot({
  workloads: [
    createWorkload({ uid: 'pod', addresses: ['10.0.0.5', 'fd00::5'] }),
    createWorkload({ uid: 'machine', addresses: ['192.168.1.1'] }),
    createWorkload({ uid: 'host', addresses: ['192.168.1.2'], networkMode: 'HOST_NETWORK' }),
    createWorkload({ uid: 'far', addresses: ['192.168.1.3'], network: 'far' }),
  ],
  services: [
    createService({
      namespace: 'shop',
      hostname: 'catalog',
      addresses: [
        { network: '', address: '10.96.0.1', length: undefined },
        { network: '', address: '240.1.2.3', length: undefined },
        { network: '', address: '10.200.0.0', length: 16 },
        { network: 'far', address: '240.9.9.9', length: undefined },
      ],
    }),
  ],
  policies: [],
});

const of = (ranges: Partial<ClusterRanges>) =>
  new CapturedRanges({ pods: [], services: [], network: '', ...ranges });

describe('what the kernel captures without a row', () => {
  it('are the ranges of the cluster and addresses of the mesh outside of them', async () => {
    const ranges = of({
      pods: [cidr('10.0.0.0/16'), cidr('fd00::/64')],
      services: [cidr('10.96.0.0/12')],
    });
    await ranges.follow(emptySnapshot, snapshot, diffSnapshots(emptySnapshot, snapshot));
    expect(ranges.all()).toEqual({
      pods: ['10.0.0.0/16', 'fd00::/64'],
      services: ['10.96.0.0/12'],
      mesh: ['192.168.1.1/32', '240.1.2.3/32', '10.200.0.0/16'],
    });
  });

  it('are the addresses of the mesh alone when no range is known', async () => {
    const ranges = of({});
    const change = await ranges.follow(emptySnapshot, snapshot, diffSnapshots(emptySnapshot, snapshot));
    expect(ranges.all().mesh.toSorted()).toEqual(
      [
        '192.168.1.1/32',
        '10.0.0.5/32',
        'fd00::5/128',
        '10.96.0.1/32',
        '240.1.2.3/32',
        '10.200.0.0/16',
      ].toSorted(),
    );
    expect(change).toEqual({ added: ranges.all().mesh, removed: [] });
  });

  it('are the ranges that a control plane tells of the cluster, as long as it tells them', async () => {
    const ranges = of({ services: [cidr('10.96.0.0/12')] });
    const told = meshSettingsService(
      createMeshSettings({ podRanges: ['10.0.0.0/16'], serviceRanges: ['10.96.0.0/12'] }),
    );
    const mesh = createSnapshot({ workloads: [], services: told === undefined ? [] : [told], policies: [] });
    const change = await ranges.follow(emptySnapshot, mesh, diffSnapshots(emptySnapshot, mesh));
    expect(change).toEqual({ added: ['10.0.0.0/16'], removed: [] });
    const back = await ranges.follow(mesh, emptySnapshot, diffSnapshots(mesh, emptySnapshot));
    expect(back).toEqual({ added: [], removed: ['10.0.0.0/16'] });
  });

  it('lose an address with its last owner, and gain one with its first', async () => {
    const ranges = of({});
    let mesh = emptySnapshot;
    const step = async (...uids: string[]) => {
      const before = mesh;
      const removals = ['a', 'b'].filter((uid) => !uids.includes(uid));
      const upserts = uids.map((uid) => createWorkload({ uid, addresses: ['10.0.0.5'] }));
      const update = updateSnapshot(mesh, createChange({ workloads: { upserts, removals } }));
      mesh = update.snapshot;
      return ranges.follow(before, mesh, update.diff);
    };
    const nothing = { added: [], removed: [] };
    expect(await step('a')).toEqual({ added: ['10.0.0.5/32'], removed: [] });
    expect(await step('a', 'b')).toEqual(nothing);
    expect(await step('b')).toEqual(nothing);
    expect(await step()).toEqual({ added: [], removed: ['10.0.0.5/32'] });
  });

  it('leave what the cluster names to the cluster, also as a range of a service', async () => {
    const ranges = of({ services: [cidr('10.200.0.0/16')] });
    await ranges.follow(emptySnapshot, snapshot, diffSnapshots(emptySnapshot, snapshot));
    expect(ranges.all().mesh).not.toContain('10.200.0.0/16');
  });

  it('are after any history what the mesh as a whole gives', async () => {
    const resources = fc.record({
      workloads: fc.record({ upserts: fc.array(workload, { maxLength: 3 }) }),
      services: fc.record({ upserts: fc.array(service, { maxLength: 3 }) }),
    });
    const known = { pods: [cidr('0.0.0.0/2')], services: [cidr('8000::/1')] };
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(resources, fc.nat()), { maxLength: 6 }), async (history) => {
        const ranges = of(known);
        const kernel = new Set<string>();
        let mesh = emptySnapshot;
        for (const [fields, nth] of history) {
          const before = mesh;
          const names = [...mesh.workloads.keys()];
          const removals = names.length === 0 ? [] : [names[nth % names.length] ?? ''];
          const change = createChange({ ...fields, workloads: { ...fields.workloads, removals } });
          const update = updateSnapshot(mesh, change);
          mesh = update.snapshot;
          const { added, removed } = await ranges.follow(before, mesh, update.diff);
          for (const text of added) kernel.add(text);
          for (const text of removed) kernel.delete(text);
        }
        const whole = of(known);
        await whole.follow(emptySnapshot, mesh, diffSnapshots(emptySnapshot, mesh));
        expect([...kernel].sort()).toEqual(whole.all().mesh.toSorted());
        expect(ranges.all().mesh.toSorted()).toEqual(whole.all().mesh.toSorted());
      }),
      { numRuns: 60 },
    );
  });
});
