/** Translations that are made again only when they would see something else: they must look through the view at all they use. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshTranslation } from '../../../../src/controlplane/mesh-translation.ts';
import { meshTranslators } from '../../../../src/controlplane/translators.ts';
import type { MeshChange } from '../../../../src/model/change.ts';
import { serviceKey } from '../../../../src/model/service.ts';
import { type KnownObject, objectId } from '../../../../src/source/kubernetes/objects.ts';
import { defaultMeshNames } from '../../../../src/source/translate/context.ts';
import { translateMeshSettings } from '../../../../src/source/translate/mesh-settings.ts';
import { anyObject } from './arbitraries.ts';

const long = process.env.HADAL_LONG === '1';
const numRuns = long ? 3_000 : 120;

const fresh = () => new MeshTranslation(defaultMeshNames, meshTranslators, translateMeshSettings);

/** What somebody holds who was told every change. */
class Told {
  readonly resources = new Map<string, unknown>();

  apply({ workloads, services }: MeshChange): void {
    for (const each of workloads.upserts) this.resources.set(each.uid, each);
    for (const each of services.upserts) this.resources.set(serviceKey(each), each);
    for (const name of [...workloads.removals, ...services.removals]) this.resources.delete(name);
  }

  get sorted(): [string, unknown][] {
    return [...this.resources].sort(([left], [right]) => (left < right ? -1 : 1));
  }
}

describe('an incremental translation of all kinds', () => {
  it(
    'ends with what a translation from scratch gives, whatever came, changed and went',
    () => {
      const step = fc.record({
        object: anyObject,
        isGone: fc.integer({ min: 0, max: 3 }).map((each) => each === 0),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
          const [translation, told] = [fresh(), new Told()];
          const objects = new Map<string, KnownObject>();
          for (const { object, isGone } of steps) {
            const id = objectId(object);
            if (isGone) objects.delete(id);
            else objects.set(id, object);
            translation.apply(
              isGone ? { upserts: [], removals: [id] } : { upserts: [{ id, object }], removals: [] },
            );
            translation.work();
            told.apply(translation.take());
          }
          expect(translation.problems).toEqual([]);
          const [scratch, anew] = [fresh(), new Told()];
          scratch.apply({ upserts: [...objects].map(([id, object]) => ({ id, object })), removals: [] });
          scratch.work();
          anew.apply(scratch.take());
          expect(told.sorted).toEqual(anew.sorted);
        }),
        { numRuns },
      );
    },
    long ? 600_000 : 30_000,
  );
});
