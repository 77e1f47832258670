import { describe, expect, it } from 'vitest';
import {
  addressPlan,
  macAddress,
  maxPodsPerNode,
  nodeAddress,
  podAddress,
  serviceAddress,
  slotCount,
} from '../../../src/lab/address-plan.ts';
import { cgroupRoot } from '../../../src/lab/cgroup.ts';
import { quoted } from '../../../src/lab/command.ts';
import { labLayout } from '../../../src/lab/layout.ts';
import { probeScript } from '../../../src/lab/readiness-probe.ts';
import { describeStatus } from '../../../src/lab/status.ts';
import { canonicalAddress, parseAddress } from '../../../src/model/address.ts';
import { cidrContains, parseCidr } from '../../../src/model/cidr.ts';
import { podObject } from '../../../src/source/kubernetes/pod.ts';

function inside(address: string, ranges: readonly string[]): boolean {
  return ranges.some((range) => {
    const [cidr, parsed] = [parseCidr(range), parseAddress(address)];
    return cidr !== undefined && parsed !== undefined && cidrContains(cidr, parsed);
  });
}

describe('the addresses of a lab', () => {
  it('are inside its ranges and no other lab has them', () => {
    const seen = new Set<string>();
    for (const slot of [0, 1, slotCount - 1]) {
      const plan = addressPlan(slot);
      for (const node of [1, 2, 200]) {
        for (const address of Object.values(nodeAddress(slot, node))) {
          expect(inside(address, plan.nodeRanges)).toBe(true);
          seen.add(address);
        }
        for (const index of [0, maxPodsPerNode - 1]) {
          for (const address of Object.values(podAddress(slot, node, index))) {
            expect(canonicalAddress(address)).toBe(address);
            expect(inside(address, plan.podRanges)).toBe(true);
            expect(inside(address, [...plan.serviceRanges, ...plan.nodeRanges])).toBe(false);
            seen.add(address);
          }
        }
      }
      for (const index of [0, 254, 255, 1000]) {
        for (const address of Object.values(serviceAddress(slot, index))) {
          expect(inside(address, plan.serviceRanges)).toBe(true);
          seen.add(address);
        }
      }
    }
    expect(seen.size).toBe(3 * (3 * 2 + 3 * 2 * 2 + 4 * 2));
  });

  it('end where their block ends', () => {
    expect(() => podAddress(0, 1, maxPodsPerNode)).toThrow(
      /pod number 250 has no address: 0 to 249 are there/,
    );
    expect(() => addressPlan(slotCount)).toThrow(/slot number 64/);
  });

  it('go with fixed MAC addresses', () => {
    expect(macAddress('pod', 2, 249)).toBe('02:48:10:02:00:f9');
    expect(macAddress('pod-gateway', 2, 249)).toBe('02:48:11:02:00:f9');
  });
});

describe('names of a lab', () => {
  it.each(['', 'A', '1a', 'a-b', 'a_b', 'x'.repeat(21)])('%j is refused', (name) => {
    expect(() => labLayout(name, '/sys/fs/cgroup')).toThrow(/cannot name a lab/);
  });
});

describe('cgroup v2', () => {
  it.each([
    ['cgroup2 /sys/fs/cgroup cgroup2 rw 0 0', '/sys/fs/cgroup'],
    [
      'tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n',
      '/sys/fs/cgroup/unified',
    ],
  ])('is found in %j', (mounts, expected) => {
    expect(cgroupRoot(mounts)).toBe(expected);
  });

  it('that is not mounted is named with what to do', () => {
    expect(() => cgroupRoot('proc /proc proc rw 0 0')).toThrow(/mount -t cgroup2/);
  });
});

describe('a readiness probe', () => {
  const pod = podObject.parse({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a' },
    spec: { containers: [{ name: 'a', ports: [{ name: 'web', containerPort: 8080 }] }] },
  });
  const probe = { periodSeconds: 1, timeoutSeconds: 1, initialDelaySeconds: 0, failureThreshold: 1 };

  it.each([
    ['a port by name', { tcpSocket: { port: 'web' } }, 'exec 3<>/dev/tcp/10.0.0.1/8080'],
    ['a port by number', { tcpSocket: { port: 81 } }, 'exec 3<>/dev/tcp/10.0.0.1/81'],
    ['a port that the pod does not name', { tcpSocket: { port: 'db' } }, 'exit 1'],
    ['nothing', {}, undefined],
  ])('of %s', (_, shape, expected) => {
    expect(probeScript({ ...probe, ...shape }, pod, '10.0.0.1')).toBe(expected);
  });

  it('never lets a path become part of its shell script', () => {
    const script = probeScript({ ...probe, httpGet: { path: "/'; rm -rf /", port: 80 } }, pod, '10.0.0.1');
    expect(script).not.toContain('rm');
  });
});

describe('shell words', () => {
  it.each([
    ['plain', 'plain'],
    ['with space', "'with space'"],
    ["it's", `'it'\\''s'`],
    ['$(x)', "'$(x)'"],
  ])('%j is written %s', (word, expected) => {
    expect(quoted(word)).toBe(expected);
  });
});

describe('the status of labs', () => {
  it('is a table for people', () => {
    const lab = {
      name: 'shop',
      owner: { pid: 7, startTime: 1 },
      slot: 0,
      startedAt: '2026-01-01T00:00:00.000Z',
      cgroup: '/c',
      directory: '/d',
      ready: true,
      alive: true,
      nodes: [
        {
          name: 'a',
          netns: 'n',
          cgroup: '/c/a',
          addresses: ['10.192.0.1', 'fd00:64:2::1'],
          agent: { pid: 9, socket: '/s', log: '/l' },
        },
      ],
      pods: [
        {
          name: 'front',
          namespace: 'shop',
          node: 'a',
          netns: 'p',
          cgroup: '/c/a/pods/x',
          uid: 1,
          addresses: ['10.64.1.2'],
          pause: undefined,
          enrolled: true,
          ready: true,
          restarts: 0,
        },
        {
          name: 'stock',
          namespace: 'shop',
          node: 'a',
          netns: 'q',
          cgroup: '/c/a/pods/y',
          uid: 2,
          addresses: ['10.64.1.3'],
          pause: undefined,
          enrolled: false,
          ready: false,
          restarts: 3,
        },
      ],
    };
    expect(describeStatus([lab])).toBe(`lab shop: up (process 7, since 2026-01-01T00:00:00.000Z)
  NODE   ADDRESSES                 AGENT
  a      10.192.0.1 fd00:64:2::1   process 9
  POD          NODE   ADDRESSES   STATE
  shop/front   a      10.64.1.2   meshed, ready
  shop/stock   a      10.64.1.3   outside the mesh, not ready, 3 restarts
`);
    expect(describeStatus([])).toContain('hadal lab up');
    expect(describeStatus([{ ...lab, alive: false }])).toContain('crashed; remove it: hadal lab down');
  });
});
