/** Whatever stands in objects that the parser takes: they translate, in any order alike, to resources that agents take. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KnownObject } from '../../../../src/source/kubernetes/objects.ts';
import { stateText } from '../../../../src/source/state-document.ts';
import { parseStateFile } from '../../../../src/source/state-file.ts';
import { translateObjects } from '../../../../src/source/translate/mesh.ts';
import { clusters } from './arbitraries.ts';

const long = process.env.HADAL_LONG === '1';
const numRuns = long ? 5_000 : 150;

describe('any objects', () => {
  it(
    'translate without an exception, to resources that an agent accepts one by one',
    () => {
      fc.assert(
        fc.property(clusters, (cluster) => {
          const { workloads, services } = translateObjects(cluster);
          const resources = { workloads, services, policies: [] };
          const read = parseStateFile(stateText(resources));
          expect(read.problems).toEqual([]);
          expect(read.resources).toEqual(resources);
        }),
        { numRuns },
      );
    },
    long ? 600_000 : 30_000,
  );

  it(
    'translate alike in any order',
    () => {
      fc.assert(
        fc.property(clusters, fc.infiniteStream(fc.nat()), (cluster, numbers) => {
          const shuffled = cluster
            .map((object) => [numbers.next().value as number, object] as const)
            .sort(([left], [right]) => left - right)
            .map(([, object]) => object);
          const sorted = (all: readonly KnownObject[]) => {
            const { workloads, services, aliases, warnings } = translateObjects(all);
            return [workloads, services, aliases, warnings].map((each) =>
              each.map((one) => JSON.stringify(one)).sort(),
            );
          };
          expect(sorted(shuffled)).toEqual(sorted(cluster));
        }),
        { numRuns },
      );
    },
    long ? 600_000 : 30_000,
  );
});
