import { describe, expect, it } from 'vitest';
import { meshManifests } from '../../../bench/mesh-manifests.ts';
import { MeshTranslation } from '../../../src/controlplane/mesh-translation.ts';
import type { SourceObject } from '../../../src/source/object-source.ts';
import { defaultMeshNames } from '../../../src/source/translate/context.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { pod, sourceObject } from './objects.ts';

/** Names and versions that a control plane tells which hears of the objects in this order. */
function versions(groups: readonly (readonly SourceObject[])[]): string[] {
  const translation = new MeshTranslation(defaultMeshNames);
  const store = new ResourceStore();
  for (const upserts of groups) {
    translation.apply({ upserts, removals: [] });
    translation.work();
    store.apply(translation.take());
  }
  return (['workloads', 'services', 'policies'] as const).flatMap((kind) =>
    [...store.all(kind)].map(({ name, version }) => `${name} ${version}`).sort(),
  );
}

describe('two control planes with the same source', () => {
  it('give every resource the same version, whatever each has heard first and in between', () => {
    const objects = meshManifests({ pods: 60, services: 12 }).map(sourceObject);
    const one = versions([objects]);
    const changed = sourceObject(pod('load-0', 'load-0-0', { addresses: ['10.9.9.9'], ready: false }));
    const other = versions([[changed], ...[...objects].reverse().map((each) => [each])]);
    expect(one).toHaveLength(72);
    expect(new Set(one.map((each) => each.split(' ')[1])).size).toBe(72);
    expect(other).toEqual(one);
  });
});
