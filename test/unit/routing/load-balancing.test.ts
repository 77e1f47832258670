import { describe, expect, it } from 'vitest';
import type { LoadBalancingScope } from '../../../src/model/service.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { failoverRank } from '../../../src/routing/load-balancing.ts';

const at = (network: string, region: string, zone: string, rest = {}) =>
  createWorkload({
    uid: 'w',
    network,
    locality: { region, zone, subzone: 's' },
    node: 'n',
    clusterId: 'c',
    ...rest,
  });
const source = at('net', 'r', 'z');

describe('the rank of an endpoint', () => {
  it.each([
    ['all', at('net', 'r', 'z'), 5],
    ['network and region', at('net', 'r', '-'), 4],
    ['network', at('net', '-', '-'), 3],
    ['network and zone', at('net', '-', 'z'), 3],
    ['region and zone', at('-', 'r', 'z'), 2],
    ['region', at('-', 'r', '-'), 1],
    ['zone', at('-', '-', 'z'), 0],
    ['nothing', at('-', '-', '-'), 0],
  ])('that shares %s under network, region, zone', (_, endpoint, rank) => {
    expect(failoverRank(['NETWORK', 'REGION', 'ZONE'], source, endpoint)).toBe(rank);
  });

  it.each([
    [['REGION', 'NETWORK'], at('net', '-', 'z'), 0],
    [['REGION', 'NETWORK'], at('-', 'r', 'z'), 1],
    [['SUBZONE', 'NODE', 'CLUSTER'], source, 3],
    [['SUBZONE', 'NODE', 'CLUSTER'], at('net', 'r', 'z', { node: 'm' }), 1],
    [['CLUSTER'], at('net', 'r', 'z', { clusterId: 'd' }), 0],
    [['UNSPECIFIED_SCOPE', 'REGION'], source, 0],
    [[], source, 0],
  ] as [LoadBalancingScope[], ReturnType<typeof at>, number][])(
    'stops counting at the first of %j that differs',
    (preference, endpoint, rank) => {
      expect(failoverRank(preference, source, endpoint)).toBe(rank);
    },
  );
});
