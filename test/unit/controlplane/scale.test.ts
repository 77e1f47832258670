import { describe, expect, it } from 'vitest';
import { loadPod, meshManifests } from '../../../bench/mesh-manifests.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { MeshPublisher } from '../../../src/controlplane/mesh-publisher.ts';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import type { MeshChange } from '../../../src/model/change.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { sourceObject } from './objects.ts';

async function meshOf(pods: number) {
  const services = pods / 10;
  const translation = new MeshTranslation(defaultMeshNames);
  const changes: MeshChange[] = [];
  const publisher = new MeshPublisher({
    translation,
    followers: [(change) => changes.push(change)],
    logger: silentLogger,
  });
  publisher.onChange({ upserts: meshManifests({ pods, services }).map(sourceObject), removals: [] });
  await publisher.flush();
  /** Milliseconds of one pod's change, the median of many. */
  const changeOnePod = async () => {
    const times: number[] = [];
    for (let n = 0; n < 100; n += 1) {
      const change = sourceObject(loadPod(n % 10, services, n % 20 >= 10));
      const begun = performance.now();
      publisher.onChange({ upserts: [change], removals: [] });
      await publisher.flush();
      times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b)[50] ?? 0;
  };
  return { translation, publisher, changes, changeOnePod };
}

describe('a mesh of 10,000 pods', () => {
  it('takes one pod’s change as a mesh of 1,000 does: one translation, one resource, about the same time', async () => {
    const small = await meshOf(1_000);
    const large = await meshOf(10_000);
    expect(large.publisher.snapshot.workloads.size).toBe(10_000);
    const made = large.translation.made;
    const [smallMs, largeMs] = [await small.changeOnePod(), await large.changeOnePod()];
    expect(large.translation.made - made).toBe(100);
    expect(large.changes.slice(1).every(({ workloads }) => workloads.upserts.length === 1)).toBe(true);
    expect(large.changes.slice(1).every(({ services }) => services.upserts.length === 0)).toBe(true);
    // Ten times the mesh: anything that goes through all of it takes about ten times as long.
    expect(largeMs).toBeLessThan(4 * Math.max(smallMs, 0.2));
  }, 60_000);
});
