import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MeshState } from '../../../src/agent/mesh-state.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import type { MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';

let directory: string;
let path: string;
let applied: MeshResources[];
const open: MeshState[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hadal-state-'));
  path = join(directory, 'mesh.yaml');
  applied = [];
});

afterEach(() => {
  for (const state of open.splice(0)) state.close();
  rmSync(directory, { recursive: true, force: true });
});

function workloads(...uids: string[]): string {
  const list = uids
    .map((uid) => `  - uid: ${uid}\n    namespace: shop\n    addresses: [10.0.0.1]\n`)
    .join('');
  return `workloads:\n${list}services: []\npolicies: []\n`;
}

/** As editors and publishers do it: a new file takes the place of the old. */
function replace(text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function start(kept?: MeshResources): Promise<MeshState> {
  const state = new MeshState({
    path,
    kept,
    onState: (resources) => {
      applied.push(resources);
    },
    logger: silentLogger,
  });
  open.push(state);
  await state.start();
  return state;
}

const uids = () => applied.at(-1)?.workloads.map(({ uid }) => uid);

describe('the mesh state of a file', () => {
  it('is applied at the start and after each change, by rename or in place', async () => {
    replace(workloads('a'));
    await start();
    expect(uids()).toEqual(['a']);
    replace(workloads('a', 'b'));
    await vi.waitFor(() => expect(uids()).toEqual(['a', 'b']));
    writeFileSync(path, workloads('c'));
    await vi.waitFor(() => expect(uids()).toEqual(['c']));
  });

  it('stays as it was when the file breaks, and says where', async () => {
    replace(workloads('a'));
    const state = await start();
    replace('workloads:\n  - uid: [\n');
    await vi.waitFor(() => expect(state.status.error).toMatch(/line \d/));
    expect(uids()).toEqual(['a']);
    expect(state.status.rejected).toBe(1);
    replace(workloads('b'));
    await vi.waitFor(() => expect(uids()).toEqual(['b']));
    expect(state.status.error).toBeUndefined();
  });

  it('keeps the last good version of a resource that breaks alone', async () => {
    replace(workloads('a', 'b'));
    const state = await start();
    replace(
      workloads('a', 'b', 'c').replace(
        'uid: b\n    namespace: shop',
        'uid: b\n    namespace: shop\n    status: SICK',
      ),
    );
    await vi.waitFor(() => expect(uids()?.toSorted()).toEqual(['a', 'b', 'c']));
    expect(state.status.problems).toHaveLength(1);
    expect(state.status.problems[0]).toMatch(/workload b, line \d+: status/);
  });

  it('is what was kept while the file is missing or broken', async () => {
    const kept = { workloads: [createWorkload({ uid: 'kept' })], services: [], policies: [] };
    const state = await start(kept);
    expect(uids()).toEqual(['kept']);
    expect(state.status.error).toContain(path);
    replace(workloads('a'));
    await vi.waitFor(() => expect(uids()).toEqual(['a']));
  });

  it('is tried again when it could not be put in force, without a change of the file', async () => {
    replace(workloads('a'));
    let failures = 1;
    const state = new MeshState({
      path,
      kept: undefined,
      onState: (resources) => {
        if (failures-- > 0) throw new Error('the map is full');
        applied.push(resources);
      },
      logger: silentLogger,
    });
    open.push(state);
    await state.start();
    expect(applied).toEqual([]);
    expect(state.status.error).toContain('the map is full');
    await vi.waitFor(() => expect(uids()).toEqual(['a']), { timeout: 3_000 });
    expect(state.status.error).toBeUndefined();
  });

  it('of ten thousand workloads is read without holding up the event loop, and what has not changed is the same object', {
    timeout: 60_000,
  }, async () => {
    const many = (status: string) =>
      `workloads:\n${Array.from(
        { length: 10_000 },
        (_, index) =>
          `  - {uid: w${index}, namespace: shop, addresses: [10.1.${index >> 8}.${index & 255}], status: ${index === 7 ? status : 'HEALTHY'}}`,
      ).join('\n')}\nservices: []\npolicies: [{namespace: n}]\n`;
    replace(many('HEALTHY'));
    let turns = 0;
    const ticking = setInterval(() => turns++, 10);
    const started = performance.now();
    const state = await start();
    const [first] = applied;
    replace(many('UNHEALTHY'));
    await vi.waitFor(() => expect(applied).toHaveLength(2), { timeout: 40_000, interval: 50 });
    clearInterval(ticking);
    const tookMs = performance.now() - started;
    const [, second] = applied;
    // Read on this thread it would be a handful. The thread and this one share the machine with whatever else runs.
    expect(turns).toBeGreaterThan(tookMs / 100);
    expect(state.status.problems).toEqual([expect.stringContaining('line 10003')]);
    expect(second?.workloads).toHaveLength(10_000);
    const changed = second?.workloads.filter((workload, index) => workload !== first?.workloads[index]);
    expect(changed).toMatchObject([{ uid: 'w7', status: 'UNHEALTHY' }]);
    expect(Object.isFrozen(changed?.[0]?.addresses)).toBe(true);
    replace(`${many('HEALTHY')}  - [`);
    await vi.waitFor(() => expect(state.status.error).toMatch(/broken at line 1000\d/), { timeout: 40_000 });
    expect(applied).toHaveLength(2);
  });

  it('is nothing without a file and without a kept one', async () => {
    const state = await start();
    expect(applied).toEqual([]);
    expect(state.status.appliedAt).toBeUndefined();
  });
});
