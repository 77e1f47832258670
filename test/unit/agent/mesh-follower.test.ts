import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KeptState } from '../../../src/agent/kept-state.ts';
import { type Followers, MeshFollower } from '../../../src/agent/mesh-follower.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { createChange, noChange } from '../../../src/model/change.ts';
import { parseCidr } from '../../../src/model/cidr.ts';
import type { SnapshotDiff } from '../../../src/model/diff.ts';
import { emptySnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { noVersions } from '../../../src/xds/versioned-change.ts';
import { largeMesh } from '../xds/mesh.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-follower-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Where the kernel and the tunnel would be: what they were told. */
class Told {
  snapshot: MeshSnapshot = emptySnapshot;
  readonly diffs: SnapshotDiff[] = [];
  readonly ranges = new Set<string>();
  wholes = 0;
  fails = false;

  readonly followers = {
    tunnel: {
      told: this,
      get snapshot() {
        return this.told.snapshot;
      },
      setSnapshot: (next: MeshSnapshot, diff: SnapshotDiff) => {
        this.snapshot = next;
        this.diffs.push(diff);
      },
    },
    kernel: {
      capture: {
        setRanges: ({ mesh }: { mesh: readonly string[] }) => {
          this.wholes++;
          this.ranges.clear();
          for (const text of mesh) this.ranges.add(text);
        },
        changeMeshRanges: ({ added, removed }: { added: readonly string[]; removed: readonly string[] }) => {
          if (this.fails) throw new Error('the map is full');
          for (const text of added) this.ranges.add(text);
          for (const text of removed) this.ranges.delete(text);
        },
      },
    },
    enrolment: { onSnapshot: () => {} },
    resolvers: { onSnapshot: () => {} },
    outboundPolicies: { onSnapshot: () => {} },
  } as unknown as Followers;
}

const ranges = { pods: [parseCidr('10.0.0.0/8') as never], services: [], network: '' };
const machine = (uid: string, address: string) => createWorkload({ uid, addresses: [address] });
const versioned = (version: string, ...uids: string[]) => ({
  versions: { ...noVersions, workloads: new Map(uids.map((uid) => [uid, version])) },
  generation: '',
});

async function start(told: Told, place = directory) {
  const disk = new KeptState(place, silentLogger, 60_000);
  const kept = await disk.read();
  const follower = new MeshFollower(told.followers, disk, ranges);
  return { disk, kept, follower };
}

describe('a follower of the mesh', () => {
  it('writes the ranges as a whole once, then what changes', async () => {
    const told = new Told();
    const { follower } = await start(told);
    await follower.apply(createChange({ workloads: { upserts: [machine('a', '192.168.0.1')] } }));
    await follower.apply(
      createChange({ workloads: { upserts: [machine('b', '192.168.0.2')], removals: ['a'] } }),
    );
    expect(told.wholes).toBe(1);
    expect([...told.ranges]).toEqual(['192.168.0.2/32']);
    expect(told.diffs.map(({ workloads }) => [workloads.added, workloads.removed])).toEqual([
      [['a'], []],
      [['b'], ['a']],
    ]);
  });

  it('tells when a part is not in force, and writes all of it again when asked to', async () => {
    const told = new Told();
    const { follower } = await start(told);
    await follower.apply(createChange({ workloads: { upserts: [machine('a', '192.168.0.1')] } }));
    told.fails = true;
    const change = createChange({ workloads: { upserts: [machine('b', '192.168.0.2')] } });
    await expect(follower.apply(change)).rejects.toThrow('the map is full');
    expect(told.snapshot.workloads.size).toBe(2);
    await follower.apply(noChange);
    expect([...told.ranges].sort()).toEqual(['192.168.0.1/32', '192.168.0.2/32']);
  });

  it('keeps what came, with its versions, and brings it back without keeping it again', async () => {
    const first = await start(new Told());
    const change = createChange({ workloads: { upserts: [machine('a', '192.168.0.1')] } });
    await first.follower.apply(change, versioned('v3', 'a'));
    await first.disk.close();
    const told = new Told();
    const second = await start(told);
    if (second.kept === undefined) throw new Error('nothing was kept');
    await second.follower.restore(second.kept);
    expect([...told.snapshot.workloads.keys()]).toEqual(['a']);
    await second.disk.close();
    expect((await start(new Told())).kept?.versions.workloads).toEqual(new Map([['a', 'v3']]));
  });

  it('becomes what a file says, also where that is less than what was kept', async () => {
    const first = await start(new Told());
    const [a, b] = [machine('a', '192.168.0.1'), machine('b', '192.168.0.2')];
    await first.follower.become({ workloads: [a, b], services: [], policies: [] });
    await first.disk.close();
    const told = new Told();
    const second = await start(told);
    if (second.kept === undefined) throw new Error('nothing was kept');
    await second.follower.restore(second.kept);
    await second.follower.become({ workloads: [b], services: [], policies: [] });
    expect([...told.ranges]).toEqual(['192.168.0.2/32']);
    await second.disk.close();
    expect((await start(new Told())).kept?.resources.workloads.map(({ uid }) => uid)).toEqual(['b']);
  });

  it('takes about the same CPU for a change in a mesh of 1,000 and of 10,000 pods, the disk included', {
    timeout: 60_000,
  }, async () => {
    const meshes = await Promise.all(
      [1_000, 10_000].map(async (pods) => {
        const { follower, disk } = await start(new Told(), join(directory, String(pods)));
        const { workloads, services } = largeMesh(pods, pods / 10);
        await follower.apply(createChange({ workloads, services }));
        await disk.flush();
        const all = workloads.upserts;
        const change = async (round: number) => {
          const before = all[(round * 7919) % pods];
          if (before === undefined) throw new Error('no pod');
          const addresses = [`172.16.${round >> 8}.${round & 255}`];
          const upserts = [createWorkload({ ...before, addresses })];
          const begin = process.cpuUsage();
          await follower.apply(createChange({ workloads: { upserts } }));
          await disk.flush();
          const { user, system } = process.cpuUsage(begin);
          return user + system;
        };
        return { change, times: [] as number[] };
      }),
    );
    for (let round = 0; round < 250; round++) {
      for (const { change, times } of meshes) times.push(await change(round));
    }
    const [small = Number.NaN, large = Number.NaN] = meshes.map(
      ({ times }) => times.slice(50).sort((left, right) => left - right)[100],
    );
    process.stderr.write(`a change in force and on disk: ${small} us of 1,000 pods, ${large} us of 10,000\n`);
    expect(large / small).toBeLessThan(3);
  });
});
