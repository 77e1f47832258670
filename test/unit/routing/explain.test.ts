import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAuthorization, createMatch } from '../../../src/model/authorization.ts';
import { createSnapshot } from '../../../src/model/snapshot.ts';
import { createTrafficExclusions } from '../../../src/model/traffic-exclusions.ts';
import { workloadIdentity } from '../../../src/model/workload.ts';
import { explainConnection } from '../../../src/routing/explain.ts';
import { explainInMesh } from '../../../src/routing/explain-in-mesh.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import * as arbitrary from '../model/arbitraries.ts';
import {
  byName,
  catalogPod,
  catalogService,
  denyAll,
  front,
  type Mesh,
  pod,
  settings,
  snapshotOf,
} from './bookshop.ts';

const names = { network: '', clusterId: 'Kubernetes' };
const explain = (mesh: Mesh, source: string, destination: string) =>
  explainInMesh(snapshotOf(mesh), names, source, destination);

const selecting = (action: 'ALLOW' | 'DENY', account: string) =>
  createAuthorization({
    namespace: 'shop',
    name: 'p',
    scope: 'WORKLOAD_SELECTOR',
    action,
    rules: [
      {
        clauses: [
          { matches: [createMatch({ serviceAccounts: [{ namespace: 'shop', serviceAccount: account }] })] },
        ],
      },
    ],
  });

describe('what is explained', () => {
  it('is allowed by every endpoint', () => {
    const told = explain({}, 'shop/front', 'catalog:80');
    expect(told).toMatchObject({ verdict: 'allowed', reason: 'none', destination: '10.96.0.1:80' });
    expect(told.endpoints.map(({ decidedBy, path, allowed }) => [decidedBy, path, allowed])).toEqual([
      ['agent', 'tunnel', true],
      ['agent', 'tunnel', true],
    ]);
  });

  it('is nobody’s to decide where the pod lets connections in clear past its agent', () => {
    const mesh = { workloads: [front, catalogPod(1)], policies: [denyAll] };
    const from = (source: string, bypassed: boolean) =>
      explainInMesh(snapshotOf(mesh), names, source, 'catalog.shop:80', { bypassesInbound: () => bypassed });
    const strangers = '192.0.2.7';
    expect(from(strangers, false)).toMatchObject({ verdict: 'refused' });
    expect(from(strangers, true)).toMatchObject({ verdict: 'allowed', endpoints: [{ decidedBy: 'nobody' }] });
    // Of the mesh's own tunnels it says nothing.
    expect(from('shop/front', true)).toMatchObject({ verdict: 'refused' });
  });

  it('is in the clear where annotations take the destination, or the port, out of the capture', () => {
    const mesh = { workloads: [front, catalogPod(1)], policies: [denyAll] };
    const from = (source: string, fields: Parameters<typeof createTrafficExclusions>[0], of: string) =>
      explainInMesh(snapshotOf(mesh), names, source, 'catalog.shop:80', {
        exclusions: (uid) => (uid.includes(of) ? createTrafficExclusions(fields) : undefined),
      });
    // The way out: an excluded destination is met without identity, and what policy says of that holds there.
    const out = from('shop/front', { excludeOutboundPorts: [80] }, 'front');
    expect(out).toMatchObject({ identity: '', endpoints: [{ path: 'plaintext' }] });
    expect(out.outbound[0]).toContain('traffic.sidecar.istio.io');
    expect(from('shop/front', { excludeOutboundPorts: [81] }, 'front').endpoints[0]?.path).toBe('tunnel');
    // The way in, at the port of the pod itself.
    const into = (port: number) => from('192.0.2.7', { excludeInboundPorts: [port] }, 'catalog');
    expect(into(8080)).toMatchObject({ verdict: 'allowed', endpoints: [{ decidedBy: 'nobody' }] });
    expect(into(80)).toMatchObject({ verdict: 'refused', endpoints: [{ decidedBy: 'agent' }] });
  });

  it('depends on the endpoint when a policy selects one of them', () => {
    const mesh = {
      workloads: [front, catalogPod(1), catalogPod(2, { authorizationPolicies: ['shop/p'] })],
      policies: [selecting('DENY', 'front')],
    };
    const told = explain(mesh, 'shop/front', 'catalog:80');
    expect(told).toMatchObject({ verdict: 'depends', reason: 'policy_denied' });
    expect(told.endpoints.map(({ allowed, policy }) => [allowed, policy])).toEqual([
      [true, undefined],
      [false, { name: 'shop/p', rule: 0 }],
    ]);
  });

  it('is refused on the way out where nobody may go', () => {
    const told = explain({}, 'shop/front', '10.99.0.1:80');
    expect(told).toMatchObject({ verdict: 'refused', reason: 'unknown_destination', endpoints: [] });
    expect(told.outbound.join(' ')).toContain('nobody in the mesh knows 10.99.0.1');
  });

  it('ends at a waypoint, whose word it does not know', () => {
    const waypoint = pod('gate-1', {
      addresses: ['10.0.9.1'],
      services: [{ service: 'shop/gate', ports: [] }],
    });
    const gate = { ...catalogService({ hostname: 'gate', name: 'gate', addresses: [] }) };
    const told = explain(
      {
        workloads: [front, catalogPod(1), waypoint],
        services: [catalogService({ waypoint: byName('gate') }), gate],
      },
      'shop/front',
      'catalog:80',
    );
    expect(told.verdict).toBe('depends');
    expect(told.endpoints.map(({ decidedBy }) => decidedBy)).toEqual(['waypoint']);
  });

  it('comes in the clear from whoever is not in the mesh, and meets the policies', () => {
    const outside = pod('batch-1', { addresses: ['10.0.5.5'], tunnelProtocol: 'NONE' });
    const mesh = { workloads: [front, outside, catalogPod(1)], policies: [denyAll] };
    for (const source of ['shop/batch-1', '10.0.5.5', '192.0.2.7']) {
      const told = explain(mesh, source, 'catalog.shop.svc.cluster.local:80');
      expect(told).toMatchObject({ identity: '', verdict: 'refused', reason: 'policy_denied' });
      expect(told.endpoints.map(({ path, address }) => [path, address])).toEqual([
        ['plaintext', '10.0.2.1:8080'],
      ]);
    }
    expect(explain({ ...mesh, policies: [] }, '192.0.2.7', 'catalog.shop:80').verdict).toBe('allowed');
  });

  it('is decided by nobody where both ends are outside', () => {
    const outside = ['1', '2'].map((n) =>
      pod(`batch-${n}`, { addresses: [`10.0.5.${n}`], tunnelProtocol: 'NONE' }),
    );
    const told = explain({ workloads: outside, policies: [denyAll] }, 'shop/batch-1', 'shop/batch-2:80');
    expect(told.verdict).toBe('allowed');
    expect(told.endpoints.map(({ decidedBy }) => decidedBy)).toEqual(['nobody']);
  });
});

describe('names of sources and destinations', () => {
  const far = pod('front', { uid: 'c//Pod/bank/front', namespace: 'bank', addresses: ['10.0.7.1'] });
  const mesh = { workloads: [front, far, catalogPod(1)] };
  it.each([
    ['front', 'is in several namespaces (bank, shop)'],
    ['shop/nobody', 'no workload is called shop/nobody'],
  ])('%s as a source: %s', (source, why) => {
    expect(() => explain(mesh, source, 'catalog:80')).toThrow(why);
  });
  it.each([
    ['catalog', 'c//Pod/shop/catalog-1'],
    ['shop/catalog-1', 'c//Pod/shop/catalog-1'],
    ['c//Pod/bank/front', 'c//Pod/bank/front'],
    ['10.0.7.1', 'c//Pod/bank/front'],
  ])('%s as a source is %s', (source, uid) => {
    expect(explain(mesh, source, '10.0.1.1:80').source).toBe(uid);
  });
  it.each([
    ['10.96.0.1:80', '10.96.0.1:80'],
    ['[fd00:96::1]:80', '[fd00:96::1]:80'],
    ['catalog:80', '10.96.0.1:80'],
    ['catalog.shop:80', '10.96.0.1:80'],
    ['catalog.shop.svc:80', '10.96.0.1:80'],
    ['Catalog.shop.svc.cluster.local.:80', '10.96.0.1:80'],
    ['bank/front:8080', '10.0.7.1:8080'],
  ])('%s as a destination is %s', (destination, address) => {
    expect(explain(mesh, 'shop/front', destination).destination).toBe(address);
  });
  it('a short name means the service of the own namespace', () => {
    expect(() => explain(mesh, 'bank/front', 'catalog:80')).toThrow('no service is called catalog');
  });
  it('a headless service means its endpoints', () => {
    const headless = { ...mesh, services: [catalogService({ addresses: [] })] };
    expect(explain(headless, 'shop/front', 'catalog:8080').destination).toBe('10.0.2.1:8080');
  });
});

it('says what is judged: no connection is allowed that the judgements refuse, in any mesh', {
  timeout: 60_000,
}, () => {
  const meshes = fc.record({
    workloads: fc.array(arbitrary.workload, { minLength: 2, maxLength: 5 }),
    services: fc.array(arbitrary.service, { maxLength: 3 }),
    policies: fc.array(arbitrary.policy, { maxLength: 4 }),
  });
  fc.assert(
    fc.property(meshes, fc.nat(), fc.nat(), (resources, from, to) => {
      const snapshot = createSnapshot(resources);
      const all = [...snapshot.workloads.values()].filter(({ addresses }) => addresses.length > 0);
      const [source, target] = [all[from % all.length], all[to % all.length]];
      if (source === undefined || target === undefined) return;
      const context = {
        snapshot,
        network: settings.network,
        outbound: (mesh: typeof snapshot, question: Parameters<typeof judgeOutbound>[1]) =>
          judgeOutbound(mesh, question, settings),
        inbound: (mesh: typeof snapshot, question: Parameters<typeof judgeInbound>[1]) =>
          judgeInbound(mesh, question, settings),
      };
      const address = target.addresses[0] ?? '';
      const place = address.includes(':') ? `[${address}]:80` : `${address}:80`;
      const told = explainConnection(context, source.uid, place);
      if (told.identity === '') return;
      const { uid, namespace, serviceAccount } = source;
      const asked = { source: { uid, namespace, serviceAccount, addresses: [] }, address, port: 80 };
      const out = judgeOutbound(snapshot, asked, settings);
      expect(told.identity).toBe(workloadIdentity(source));
      expect(told.outbound).toEqual(out.explanation);
      expect(told.endpoints.map(({ workload }) => workload)).toEqual(
        out.endpoints.map(({ workloadUid }) => workloadUid),
      );
      if (out.reason !== 0) expect(told.verdict).toBe('refused');
      if (told.verdict === 'allowed') expect(told.endpoints.every(({ allowed }) => allowed)).toBe(true);
    }),
    { numRuns: 200 },
  );
});
