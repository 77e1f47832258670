import { describe, expect, it } from 'vitest';
import { captureRanges, mayChangeRanges } from '../../../src/agent/capture-ranges.ts';
import { parseCidr } from '../../../src/model/cidr.ts';
import { diffSnapshots } from '../../../src/model/diff.ts';
import { createService } from '../../../src/model/service.ts';
import { createSnapshot, emptySnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';

function cidr(text: string) {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

const snapshot = createSnapshot({
  workloads: [
    createWorkload({ uid: 'pod', addresses: ['10.0.0.5', 'fd00::5'] }),
    createWorkload({ uid: 'machine', addresses: ['192.168.1.1'] }),
    createWorkload({ uid: 'host', addresses: ['192.168.1.2'], networkMode: 'HOST_NETWORK' }),
    createWorkload({ uid: 'far', addresses: ['192.168.1.3'], network: 'far' }),
  ],
  services: [
    createService({
      namespace: 'shop',
      hostname: 'catalog',
      addresses: [
        { network: '', address: '10.96.0.1', length: undefined },
        { network: '', address: '240.1.2.3', length: undefined },
        { network: '', address: '10.200.0.0', length: 16 },
        { network: 'far', address: '240.9.9.9', length: undefined },
      ],
    }),
  ],
  policies: [],
});

describe('what the kernel captures without a row', () => {
  it('are the ranges of the cluster and addresses of the mesh outside of them', () => {
    const ranges = captureRanges(snapshot, {
      pods: [cidr('10.0.0.0/16'), cidr('fd00::/64')],
      services: [cidr('10.96.0.0/12')],
      network: '',
    });
    expect(ranges).toEqual({
      pods: ['10.0.0.0/16', 'fd00::/64'],
      services: ['10.96.0.0/12'],
      mesh: ['192.168.1.1', '240.1.2.3', '10.200.0.0/16'],
    });
  });

  it('are the addresses of the mesh alone when no range is known', () => {
    const { mesh } = captureRanges(snapshot, { pods: [], services: [], network: '' });
    expect(mesh).toEqual(['192.168.1.1', '10.0.0.5', 'fd00::5', '10.96.0.1', '240.1.2.3', '10.200.0.0/16']);
  });

  it('change with workloads and services only', () => {
    expect(mayChangeRanges(diffSnapshots(emptySnapshot, snapshot))).toBe(true);
    expect(mayChangeRanges(diffSnapshots(snapshot, snapshot))).toBe(false);
  });
});
