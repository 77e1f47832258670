import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import { MeshPublisher } from '../../../src/controlplane/mesh-publisher.ts';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import type { MeshChange } from '../../../src/model/change.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { pod, sourceObject } from './objects.ts';

const podNamed = (name: string, address: string) => sourceObject(pod('shop', name, { addresses: [address] }));

function publisher(times: { quietMs?: number; longestMs?: number } = {}) {
  const changes: MeshChange[] = [];
  const made = new MeshPublisher({
    translation: new MeshTranslation(defaultMeshNames),
    followers: [(change) => changes.push(change)],
    logger: silentLogger,
    ...times,
  });
  return { made, changes };
}

describe('a publisher of the mesh', () => {
  it('makes one change of what comes together', async () => {
    const { made, changes } = publisher({ quietMs: 20 });
    for (const n of [1, 2, 3]) made.onChange({ upserts: [podNamed(`p${n}`, `10.0.0.${n}`)], removals: [] });
    await sleep(60);
    expect(changes.map(({ workloads }) => workloads.upserts.length)).toEqual([3]);
    expect(made.snapshot.workloadsAt('', '10.0.0.2')).toHaveLength(1);
    await made.close();
  });

  it('does not wait for quiet for ever', async () => {
    const { made, changes } = publisher({ quietMs: 40, longestMs: 80 });
    for (let n = 1; n <= 20; n += 1) {
      made.onChange({ upserts: [podNamed('p', `10.0.0.${n}`)], removals: [] });
      await sleep(10);
    }
    expect(changes.length).toBeGreaterThanOrEqual(2);
    await made.close();
  });

  it('leaves earlier snapshots as they were', async () => {
    const { made } = publisher();
    made.onChange({ upserts: [podNamed('p', '10.0.0.1')], removals: [] });
    await made.flush();
    const before = made.snapshot;
    made.onChange({ upserts: [], removals: [podNamed('p', '10.0.0.1').id] });
    await made.flush();
    expect(before.workloadsAt('', '10.0.0.1')).toHaveLength(1);
    expect(made.snapshot.workloads.size).toBe(0);
    await made.close();
  });

  it('says with a change how much had been seen, and tells of more when nothing waits', async () => {
    const told: string[] = [];
    let position = 1n;
    const seen = () => ({ lineage: 'a', positions: new Map([['pods', position]]) });
    const made: MeshPublisher = new MeshPublisher({
      translation: new MeshTranslation(defaultMeshNames),
      followers: [
        (_change, _snapshot, known) => {
          // Nor is what comes while it is published.
          made.tellSeen();
          told.push(`change at ${known?.positions.get('pods')}`);
        },
      ],
      logger: silentLogger,
      seen,
      onSeen: (known) => told.push(`seen ${known.positions.get('pods')}`),
    });
    made.onChange({ upserts: [podNamed('p', '10.0.0.1')], removals: [] });
    // What waits is not in the mesh yet.
    made.tellSeen();
    await made.flush();
    position = 2n;
    made.onChange({ upserts: [podNamed('p', '10.0.0.1')], removals: [] });
    await made.flush();
    position = 3n;
    made.tellSeen();
    expect(told).toEqual(['change at 1', 'seen 2', 'seen 3']);
    await made.close();
  });

  it('tells nobody of a change that changes nothing', async () => {
    const { made, changes } = publisher();
    made.onChange({ upserts: [podNamed('p', '10.0.0.1')], removals: [] });
    await made.flush();
    made.onChange({ upserts: [podNamed('p', '10.0.0.1')], removals: [] });
    await made.flush();
    expect(changes).toHaveLength(1);
    await made.close();
  });
});
