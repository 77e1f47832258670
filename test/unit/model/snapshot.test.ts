import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAuthorization } from '../../../src/model/authorization.ts';
import { dependency, diffSnapshots, isAffected } from '../../../src/model/diff.ts';
import { createService, serviceKey } from '../../../src/model/service.ts';
import { createSnapshot, emptySnapshot, type MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload, workloadIdentity } from '../../../src/model/workload.ts';
import { policy, service, workload } from './arbitraries.ts';

const mesh = (given: Partial<MeshResources>) =>
  createSnapshot({ workloads: [], services: [], policies: [], ...given });

const web = createService({ namespace: 'shop', hostname: 'web.shop.svc', name: 'web' });
const pod = createWorkload({
  uid: 'pod-1',
  namespace: 'shop',
  addresses: ['10.0.0.1', 'fd00::1'],
  services: [{ service: 'shop/web.shop.svc', ports: [] }],
});

describe('values of the mesh', () => {
  it('have the defaults of the wire', () => {
    expect(createWorkload({ uid: 'u' })).toMatchObject({
      trustDomain: 'cluster.local',
      serviceAccount: 'default',
      clusterId: 'Kubernetes',
      capacity: 1,
      status: 'HEALTHY',
      tunnelProtocol: 'NONE',
    });
    expect(workloadIdentity(pod)).toBe('spiffe://cluster.local/ns/shop/sa/default');
  });

  it('are frozen', () => {
    for (const value of [pod, pod.addresses, pod.locality, web, web.loadBalancing, web.ports]) {
      expect(Object.isFrozen(value)).toBe(true);
    }
  });
});

describe('a snapshot', () => {
  it('finds a workload by each of its addresses, on its own network only', () => {
    const snapshot = mesh({ workloads: [pod] });
    expect(snapshot.workloadsAt('', '10.0.0.1')).toEqual([pod]);
    expect(snapshot.workloadsAt('', 'fd00::1')).toEqual([pod]);
    expect(snapshot.workloadsAt('other', '10.0.0.1')).toEqual([]);
  });

  it('does not find pods in the host network by address, for the address is the node', () => {
    const host = createWorkload({ ...pod, networkMode: 'HOST_NETWORK' });
    expect(mesh({ workloads: [host] }).workloadsAt('', '10.0.0.1')).toEqual([]);
    expect(mesh({ workloads: [host], services: [web] }).endpointsOf(serviceKey(web))).toHaveLength(1);
  });

  it('tells healthy endpoints from all, and lets ALLOW_ALL use any', () => {
    const ill = createWorkload({ ...pod, uid: 'pod-2', status: 'UNHEALTHY' });
    const snapshot = mesh({ workloads: [pod, ill], services: [web] });
    expect(snapshot.endpointsOf('shop/web.shop.svc').map((each) => each.workload.uid)).toEqual(['pod-1']);
    expect(snapshot.allEndpointsOf('shop/web.shop.svc')).toHaveLength(2);
    const loadBalancing = {
      routingPreference: [],
      mode: 'UNSPECIFIED_MODE',
      healthPolicy: 'ALLOW_ALL',
    } as const;
    const lenient = mesh({ workloads: [pod, ill], services: [createService({ ...web, loadBalancing })] });
    expect(lenient.endpointsOf('shop/web.shop.svc')).toHaveLength(2);
  });

  it('has no usable endpoints for a service that is not there', () => {
    const snapshot = mesh({ workloads: [pod] });
    expect(snapshot.endpointsOf('shop/web.shop.svc')).toEqual([]);
    expect(snapshot.allEndpointsOf('shop/web.shop.svc')).toHaveLength(1);
  });

  it('finds services by exact address and by range', () => {
    const exact = createService({
      ...web,
      addresses: [{ network: '', address: '10.1.0.5', length: undefined }],
    });
    const range = createService({
      ...web,
      hostname: 'range.shop.svc',
      addresses: [{ network: '', address: '10.1.0.0', length: 16 }],
    });
    const whole = createService({
      ...web,
      hostname: 'whole.shop.svc',
      addresses: [{ network: '', address: '10.1.0.9', length: 32 }],
    });
    const snapshot = mesh({ services: [exact, range, whole] });
    expect(snapshot.servicesAt('', '10.1.0.5')).toEqual([exact]);
    expect(snapshot.servicesAround('', '10.1.0.5').map((each) => each.service)).toEqual([range]);
    expect(snapshot.servicesAt('', '10.1.0.9')).toEqual([whole]);
    expect(snapshot.servicesAround('', '10.2.0.1')).toEqual([]);
    expect(snapshot.servicesAround('other', '10.1.0.1')).toEqual([]);
    expect(snapshot.servicesAround('', 'nonsense')).toEqual([]);
  });

  it('sorts policies by scope', () => {
    const of = (scope: 'GLOBAL' | 'NAMESPACE' | 'WORKLOAD_SELECTOR') =>
      createAuthorization({ namespace: 'shop', name: scope.toLowerCase(), scope });
    const snapshot = mesh({ policies: [of('GLOBAL'), of('NAMESPACE'), of('WORKLOAD_SELECTOR')] });
    expect(snapshot.globalPolicies.map(({ name }) => name)).toEqual(['global']);
    expect(snapshot.policiesIn('shop').map(({ name }) => name)).toEqual(['namespace']);
    expect(snapshot.policiesIn('bank')).toEqual([]);
    expect(snapshot.policies.get('shop/workload_selector')?.scope).toBe('WORKLOAD_SELECTOR');
  });

  it('is built for 10,000 workloads in well under a second', () => {
    const workloads = Array.from({ length: 10_000 }, (_, index) =>
      createWorkload({ ...pod, uid: `pod-${index}`, addresses: [`10.${index >> 8}.${index & 255}.1`] }),
    );
    const start = performance.now();
    const snapshot = mesh({ workloads, services: [web] });
    expect(snapshot.endpointsOf('shop/web.shop.svc')).toHaveLength(10_000);
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe('diffSnapshots', () => {
  it('finds nothing between equal meshes, even if every object is a new one', () => {
    fc.assert(
      fc.property(
        fc.array(workload, { maxLength: 4 }),
        fc.array(service, { maxLength: 4 }),
        fc.array(policy, { maxLength: 4 }),
        (workloads, services, policies) => {
          const again = structuredClone({ workloads, services, policies });
          const diff = diffSnapshots(mesh({ workloads, services, policies }), mesh(again));
          expect([...diff.keys]).toEqual([]);
        },
      ),
    );
  });

  it('names a workload that appears, its addresses and its services', () => {
    const diff = diffSnapshots(emptySnapshot, mesh({ workloads: [pod] }));
    expect(diff.workloads).toEqual({ added: ['pod-1'], changed: [], removed: [] });
    expect([...diff.keys].sort()).toEqual([
      'address:/10.0.0.1',
      'address:/fd00::1',
      'service:shop/web.shop.svc',
      'workload:pod-1',
    ]);
  });

  it('names the old and the new address and service of a workload that moves', () => {
    const moved = createWorkload({
      ...pod,
      addresses: ['10.0.0.9'],
      services: [{ service: 'shop/b', ports: [] }],
    });
    const { keys, workloads } = diffSnapshots(mesh({ workloads: [pod] }), mesh({ workloads: [moved] }));
    expect(workloads.changed).toEqual(['pod-1']);
    expect([...keys]).toEqual(
      expect.arrayContaining([
        'address:/10.0.0.1',
        'address:/10.0.0.9',
        'service:shop/web.shop.svc',
        'service:shop/b',
      ]),
    );
  });

  it('names address, host name and range of a service', () => {
    const addressed = createService({
      ...web,
      addresses: [
        { network: 'n', address: '10.1.0.5', length: undefined },
        { network: 'm', address: '10.2.0.0', length: 16 },
      ],
    });
    const { keys } = diffSnapshots(mesh({ services: [addressed] }), emptySnapshot);
    expect([...keys]).toEqual(
      expect.arrayContaining([
        'address:n/10.1.0.5',
        'ranges:m',
        'hostname:web.shop.svc',
        'service:shop/web.shop.svc',
      ]),
    );
  });

  it('names the namespace of a policy that leaves a scope and of one that enters it', () => {
    const own = createAuthorization({ namespace: 'shop', name: 'p', scope: 'NAMESPACE' });
    const global = createAuthorization({ ...own, scope: 'GLOBAL' });
    const { keys } = diffSnapshots(mesh({ policies: [own] }), mesh({ policies: [global] }));
    expect([...keys].sort()).toEqual(['global:', 'namespace:shop', 'policy:shop/p']);
  });

  it('affects those who listed a key that changed', () => {
    const diff = diffSnapshots(emptySnapshot, mesh({ workloads: [pod] }));
    expect(isAffected([dependency.address('', '10.0.0.1')], diff)).toBe(true);
    expect(isAffected([dependency.address('', '10.0.0.2'), dependency.global], diff)).toBe(false);
  });
});
