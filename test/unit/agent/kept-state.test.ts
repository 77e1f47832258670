import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeptMesh } from '../../../src/agent/kept-record.ts';
import { KeptState } from '../../../src/agent/kept-state.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { createAuthorization, createMatch, policyKey } from '../../../src/model/authorization.ts';
import { changeFrom, createChange, type MeshChange } from '../../../src/model/change.ts';
import { diffSnapshots } from '../../../src/model/diff.ts';
import { createService, serviceKey } from '../../../src/model/service.ts';
import {
  createSnapshot,
  emptySnapshot,
  type MeshResources,
  type MeshSnapshot,
} from '../../../src/model/snapshot.ts';
import { updateSnapshot } from '../../../src/model/update.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { policy, service, workload } from '../model/arbitraries.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-kept-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

const resources: MeshResources = {
  workloads: [createWorkload({ uid: 'a', addresses: ['10.0.0.1', 'fd00::1'], waypoint: undefined })],
  services: [
    createService({
      namespace: 'shop',
      hostname: 'catalog.shop.svc',
      addresses: [
        { network: '', address: '10.96.0.1', length: undefined },
        { network: '', address: '10.97.0.0', length: 16 },
      ],
    }),
  ],
  policies: [
    createAuthorization({
      namespace: 'shop',
      name: 'deny',
      rules: [{ clauses: [{ matches: [createMatch({ destinationPorts: [80] })] }] }],
    }),
  ],
};

/** An agent's state, with the mesh that it keeps. */
class Keeping {
  readonly state = new KeptState(directory, silentLogger, 60_000);
  snapshot: MeshSnapshot = emptySnapshot;

  apply(change: MeshChange, version = 'v1'): void {
    const versions = {
      workloads: new Map(change.workloads.upserts.map(({ uid }) => [uid, version])),
      services: new Map(change.services.upserts.map((each) => [serviceKey(each), version])),
      policies: new Map(change.policies.upserts.map((each) => [policyKey(each), version])),
    };
    this.snapshot = updateSnapshot(this.snapshot, change).snapshot;
    this.state.keep({ change, versions, generation: `line;a=${version.slice(1)}` }, this.snapshot);
  }
}

async function readAgain(): Promise<KeptMesh | undefined> {
  return await new KeptState(directory, silentLogger).read();
}

function snapshotOf(kept: KeptMesh | undefined): MeshSnapshot {
  if (kept === undefined) return emptySnapshot;
  const all = changeFrom(kept.resources);
  const policies = { ...all.policies, removals: kept.gonePolicies };
  return updateSnapshot(emptySnapshot, { ...all, policies }).snapshot;
}

const pods = (count: number, address = '10.0.0.1') =>
  Array.from({ length: count }, (_, index) =>
    createWorkload({ uid: `Kubernetes//Pod/shop/web-${index}`, namespace: 'shop', addresses: [address] }),
  );

it('writes policies at once, with all that came before them, and the rest some time later', async () => {
  const keeping = new Keeping();
  keeping.apply(changeFrom({ workloads: pods(2), services: [], policies: [] }));
  expect(await readAgain()).toBeUndefined();
  keeping.apply(changeFrom({ workloads: [], services: [], policies: resources.policies }));
  await expect.poll(async () => (await readAgain())?.resources.policies, { timeout: 5_000 }).toHaveLength(1);
  expect((await readAgain())?.resources.workloads).toHaveLength(2);
  keeping.apply(createChange({ policies: { removals: ['shop/deny'] } }));
  await expect.poll(async () => (await readAgain())?.resources.policies, { timeout: 5_000 }).toHaveLength(0);
  await keeping.state.close();
});

describe('the kept state', () => {
  it('comes back equal, with the version of each resource', async () => {
    const keeping = new Keeping();
    expect(await keeping.state.read()).toBeUndefined();
    keeping.apply(changeFrom(resources), 'v7');
    await keeping.state.close();
    const again = await readAgain();
    expect(again?.resources).toEqual(resources);
    expect(again?.generation).toBe('line;a=7');
    expect(again?.versions.policies).toEqual(new Map([['shop/deny', 'v7']]));
    expect(again?.versions.services).toEqual(new Map([['shop/catalog.shop.svc', 'v7']]));
    const difference = diffSnapshots(
      createSnapshot(resources),
      createSnapshot(again?.resources ?? resources),
    );
    expect(difference.keys.size).toBe(0);
  });

  it('is after any history, and any number of restarts, what was in force', async () => {
    const changes = fc.record({
      workloads: fc.array(workload, { maxLength: 2 }),
      services: fc.array(service, { maxLength: 2 }),
      policies: fc.array(policy, { maxLength: 2 }),
      removed: fc.nat(),
      restart: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(changes, { maxLength: 5 }), async (history) => {
        rmSync(directory, { recursive: true, force: true });
        let keeping = new Keeping();
        await keeping.state.read();
        for (const { removed, restart, ...upserts } of history) {
          const nth = (names: Iterable<string>) => {
            const all = [...names];
            return all.length === 0 ? [] : [all[removed % all.length] ?? ''];
          };
          const { workloads, policies } = keeping.snapshot;
          const change = createChange({
            workloads: { upserts: upserts.workloads, removals: nth(workloads.keys()) },
            services: { upserts: upserts.services },
            policies: { upserts: upserts.policies, removals: nth(policies.keys()) },
          });
          keeping.apply(change);
          await keeping.state.flush();
          if (!restart) continue;
          await keeping.state.close();
          const { snapshot } = keeping;
          keeping = new Keeping();
          keeping.snapshot = snapshotOf(await keeping.state.read());
          expect(diffSnapshots(snapshot, keeping.snapshot).keys).toEqual(new Set());
        }
        await keeping.state.close();
        expect(diffSnapshots(keeping.snapshot, snapshotOf(await readAgain())).keys).toEqual(new Set());
      }),
      { numRuns: 25 },
    );
  });

  it('remembers which policies are gone while workloads still name them', async () => {
    const keeping = new Keeping();
    await keeping.state.read();
    const naming = createWorkload({ uid: 'a', authorizationPolicies: ['shop/deny'] });
    keeping.apply(
      createChange({ workloads: { upserts: [naming] }, policies: { upserts: resources.policies } }),
    );
    keeping.apply(createChange({ policies: { removals: ['shop/deny'] } }));
    await keeping.state.close();
    expect([...snapshotOf(await readAgain()).gonePolicies]).toEqual(['shop/deny']);
  });

  it('counts what was written to its end when an agent is killed in the middle of a change', async () => {
    const keeping = new Keeping();
    await keeping.state.read();
    keeping.apply(changeFrom({ workloads: pods(20), services: [], policies: [] }));
    await keeping.state.flush();
    keeping.apply(createChange({ workloads: { upserts: pods(2, '10.0.0.2') } }), 'v2');
    await keeping.state.close();
    const log = join(directory, '1.log');
    const whole = statSync(log).size;
    for (const cut of [whole - 1, whole >> 1, 1]) {
      const copy = readFileSync(log);
      truncateSync(log, cut);
      const after = new Keeping();
      after.snapshot = snapshotOf(await after.state.read());
      expect(after.snapshot.workloads.get('Kubernetes//Pod/shop/web-0')?.addresses).toEqual(['10.0.0.1']);
      expect(after.snapshot.workloads.size).toBe(20);
      // What comes then is not lost behind the half of a line.
      after.apply(createChange({ workloads: { upserts: pods(1, '10.0.0.3') } }), 'v3');
      await after.state.close();
      const again = await readAgain();
      expect(again?.versions.workloads.get('Kubernetes//Pod/shop/web-0')).toBe('v3');
      writeFileSync(log, copy);
    }
  });

  it('goes on from the old base when an agent is killed while it writes the new one', async () => {
    const keeping = new Keeping();
    await keeping.state.read();
    keeping.apply(changeFrom(resources));
    await keeping.state.close();
    writeFileSync(join(directory, '2.base.new'), '00000000 {"ups');
    expect((await readAgain())?.resources).toEqual(resources);
  });

  it('writes as much as changed, and the mesh as a whole only when as much has changed', async () => {
    const keeping = new Keeping();
    await keeping.state.read();
    keeping.apply(changeFrom({ workloads: pods(600), services: [], policies: [] }));
    await keeping.state.flush();
    const base = statSync(join(directory, '1.base')).size;
    let written = 0;
    let before = 0;
    for (let round = 0; round < 1_000; round++) {
      keeping.apply(createChange({ workloads: { upserts: pods(1, `10.0.${round >> 8}.${round & 255}`) } }));
      await keeping.state.flush();
      const files = readdirSync(directory);
      const size = files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
      written += size > before ? size - before : 0;
      before = size;
    }
    await keeping.state.close();
    // As a whole each time it would be a thousand times the base.
    expect(written).toBeLessThan(4 * base);
    const bases = readdirSync(directory).filter((name) => name.endsWith('.base'));
    expect(bases).toEqual([expect.stringMatching(/^[2-4]\.base$/)]);
    expect(diffSnapshots(keeping.snapshot, snapshotOf(await readAgain())).keys).toEqual(new Set());
  });

  it('that is damaged is refused with its path, and the next one is kept all the same', async () => {
    writeFileSync(join(directory, '3.base'), '12345678 {"upserts":{}}\n');
    const keeping = new Keeping();
    await expect(keeping.state.read()).rejects.toMatchObject({
      code: 'ERR_KEPT_STATE',
      message: expect.stringContaining(join(directory, '3.base')),
    });
    keeping.apply(changeFrom(resources));
    await keeping.state.close();
    expect((await readAgain())?.resources).toEqual(resources);
  });

  describe('that could not be written', () => {
    const away = () => `${directory}-away`;

    async function failOnce(): Promise<Keeping> {
      const keeping = new Keeping();
      await keeping.state.read();
      keeping.apply(changeFrom(resources));
      renameSync(directory, away());
      await keeping.state.flush();
      renameSync(away(), directory);
      expect(readdirSync(directory)).toEqual([]);
      return keeping;
    }

    it('is written a moment later, though nothing changes any more', async () => {
      const keeping = await failOnce();
      await expect.poll(() => readdirSync(directory), { timeout: 8_000 }).toEqual(['1.base']);
      expect((await readAgain())?.resources).toEqual(resources);
      await keeping.state.close();
    });

    it('is written at the end at the latest', async () => {
      const keeping = await failOnce();
      await keeping.state.close();
      expect((await readAgain())?.resources).toEqual(resources);
    });
  });
});
