import { describe, expect, it } from 'vitest';
import { type PairedPod, ProbePairs } from '../../../src/agent/probe-pairs.ts';
import { type SameNodePath, unknownPath } from '../../../src/routing/same-node-path.ts';

const stays: SameNodePath = { state: 'stays', reason: '' };
const leaves: SameNodePath = { state: 'leaves', reason: 'seen on uplink', interfaceName: 'uplink' };
const unknown = unknownPath('a NetworkPolicy');

function podsOf(count: number): PairedPod[] {
  return Array.from({ length: count }, (_, index) => ({ podIndex: index + 1 }));
}

describe('pairs of pods to probe', () => {
  it.each([2, 3, 6, 9, 30])(
    'of %i pods leave none out, in the first rounds and again and again later',
    async (count) => {
      const pairs = new ProbePairs<PairedPod>();
      const pods = podsOf(count);
      const tried = new Set<number>();
      const round = () =>
        pairs.round(pods, async (from, to) => {
          tried.add(from.podIndex).add(to.podIndex);
          return stays;
        });
      for (let n = 0; n * 8 < count; n++) expect(await round()).toEqual(stays);
      expect(tried.size).toBe(count);
      tried.clear();
      for (let n = 0; n < count; n++) await round();
      expect(tried.size).toBe(count);
    },
  );

  it('have a new pod in the next round', async () => {
    const pairs = new ProbePairs<PairedPod>();
    await pairs.round(podsOf(6), async () => stays);
    const found = await pairs.round(podsOf(7), async (from, to) =>
      from.podIndex === 7 || to.podIndex === 7 ? leaves : stays,
    );
    expect(found).toEqual(leaves);
  });

  it('begin with the pair that left, until it stays', async () => {
    const pairs = new ProbePairs<PairedPod>();
    const pods = podsOf(5);
    const isBad = (from: PairedPod, to: PairedPod) => from.podIndex === 1 && to.podIndex === 3;
    let bad = true;
    const probe = async (from: PairedPod, to: PairedPod) => (isBad(from, to) && bad ? leaves : stays);
    expect(await pairs.round(pods, probe)).toEqual(leaves);
    for (let n = 0; n < 10; n++) expect(await pairs.round(pods, probe)).toEqual(leaves);
    bad = false;
    expect(await pairs.round(pods, probe)).toEqual(stays);
  });

  it('of which some are kept apart do not hide one that stays, in any round', async () => {
    const pairs = new ProbePairs<PairedPod>();
    const pods = podsOf(6);
    const probe = async (from: PairedPod, to: PairedPod) =>
      from.podIndex === 6 || to.podIndex === 6 ? unknown : stays;
    for (let n = 0; n < 20; n++) expect(await pairs.round(pods, probe)).toEqual(stays);
  });
});
