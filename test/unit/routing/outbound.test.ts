import { describe, expect, it } from 'vitest';
import { parseCidr } from '../../../src/model/cidr.ts';
import { createMeshSettings, meshSettingsService } from '../../../src/model/mesh-settings.ts';
import type { LoadBalancingMode, LoadBalancingScope } from '../../../src/model/service.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import {
  address,
  catalogKey,
  catalogPod,
  catalogService,
  enrolled,
  front,
  outbound,
  paths,
  pod,
  port,
  usual,
} from './bookshop.ts';

const vip = ['10.96.0.1', 80] as const;

describe('the source', () => {
  it('is refused while the mesh does not know it', () => {
    const judgement = outbound({ workloads: [] }, vip);
    expect(judgement).toMatchObject({ reasonName: 'UNKNOWN_WORKLOAD', endpoints: [] });
    expect(judgement.dependencies).toEqual(['workload:c//Pod/shop/front']);
  });

  it.each([
    ['service account', { serviceAccount: 'back' }],
    ['namespace', { namespace: 'bank' }],
  ])('is refused when its %s is not the one it was enrolled with', (_, change) => {
    const judgement = outbound({}, vip, { source: { ...enrolled(front), ...change } });
    expect(judgement).toMatchObject({ reasonName: 'IDENTITY_MISMATCH', endpoints: [] });
  });

  it('is told in baggage and labels', () => {
    const [endpoint] = outbound({}, vip).endpoints;
    expect(endpoint?.baggage).toBe(
      'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=front,service.name=front,service.version=v1',
    );
    expect(endpoint?.labels).toMatchObject({
      reporter: 'source',
      source_workload: 'front',
      source_workload_namespace: 'shop',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/front',
      source_app: 'front',
      source_version: 'v1',
      source_cluster: 'Kubernetes',
      source_region: 'unknown',
      destination_workload: 'catalog',
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/catalog',
      destination_service: 'catalog.shop.svc.cluster.local',
      destination_service_name: 'catalog',
      destination_service_namespace: 'shop',
      connection_security_policy: 'mutual_tls',
    });
  });
});

describe('a service address', () => {
  it('means the healthy endpoints, each in a tunnel to its own port', () => {
    const judgement = outbound({}, vip);
    expect(judgement).toMatchObject({ reason: 0, service: catalogKey });
    expect(paths(judgement)).toEqual([
      'tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1',
      'tunnel 10.0.2.2:15008 for 10.0.2.2:8080 x1',
    ]);
    expect(judgement.endpoints[0]).toMatchObject({
      workloadUid: 'c//Pod/shop/catalog-1',
      via: 'endpoint',
      peerIdentities: ['spiffe://cluster.local/ns/shop/sa/catalog'],
      forwardedHost: 'catalog.shop.svc.cluster.local',
    });
  });

  it('goes by the family that was asked for where an endpoint has it', () => {
    expect(paths(outbound({}, ['fd00:96::1', 80]))).toEqual([
      'tunnel fd00:2::1:15008 for [fd00:2::1]:8080 x1',
      'tunnel fd00:2::2:15008 for [fd00:2::2]:8080 x1',
    ]);
    const onlyFour = catalogPod(1, { addresses: ['10.0.2.1'] });
    const workloads = [front, onlyFour];
    expect(paths(outbound({ workloads }, ['fd00:96::1', 80]))).toEqual([
      'tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1',
    ]);
  });

  it('keeps to the families of the service', () => {
    const services = [catalogService({ ipFamilies: 'IPV6_ONLY' })];
    expect(paths(outbound({ services }, vip))[0]).toBe('tunnel fd00:2::1:15008 for [fd00:2::1]:8080 x1');
    const workloads = [front, catalogPod(1, { addresses: ['10.0.2.1'] })];
    expect(outbound({ services, workloads }, vip).reasonName).toBe('NO_HEALTHY_ENDPOINT');
  });

  it('is the same in its IPv4-mapped form', () => {
    expect(paths(outbound({}, ['::ffff:10.96.0.1', 80]))).toEqual(paths(outbound({}, vip)));
  });

  it('stays in the clear for an endpoint without tunnel', () => {
    const workloads = [front, catalogPod(1, { tunnelProtocol: 'NONE' })];
    const judgement = outbound({ workloads }, vip);
    expect(paths(judgement)).toEqual(['plaintext 10.0.2.1:8080 x1']);
    expect(judgement.endpoints[0]?.labels).toMatchObject({
      connection_security_policy: 'unknown',
      source_principal: 'unknown',
      destination_principal: 'unknown',
      destination_workload: 'catalog',
    });
  });

  it('takes a tunnel to an endpoint on the same node too', () => {
    const workloads = [front, catalogPod(1, { node: 'node-1' })];
    expect(paths(outbound({ workloads }, vip))).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1']);
  });

  it('accepts the names of the service besides the own identity of an endpoint', () => {
    const services = [catalogService({ subjectAltNames: ['spiffe://td2/ns/shop/sa/catalog'] })];
    expect(outbound({ services }, vip).endpoints[0]?.peerIdentities).toEqual([
      'spiffe://cluster.local/ns/shop/sa/catalog',
      'spiffe://td2/ns/shop/sa/catalog',
    ]);
  });

  it('is refused without healthy endpoint', () => {
    const workloads = [front, catalogPod(1, { status: 'UNHEALTHY' })];
    expect(outbound({ workloads }, vip).reasonName).toBe('NO_HEALTHY_ENDPOINT');
    expect(outbound({ workloads: [front] }, vip).reasonName).toBe('NO_HEALTHY_ENDPOINT');
  });

  it('is refused on a port that the service does not have', () => {
    const judgement = outbound({}, ['10.96.0.1', 81]);
    expect(judgement.reasonName).toBe('NO_SUCH_PORT');
    expect(judgement.explanation.join('\n')).toContain('its ports: 80');
  });

  it('is refused when no address of an endpoint is known', () => {
    const judgement = outbound(
      { workloads: [front, catalogPod(1, { addresses: [], hostname: 'db.example' })] },
      vip,
    );
    expect(judgement.reasonName).toBe('NO_HEALTHY_ENDPOINT');
    expect(judgement.explanation.join('\n')).toContain('db.example');
  });

  it('is refused when its endpoints speak a protocol that is not supported', () => {
    const workloads = [front, catalogPod(1, { tunnelProtocol: 'LEGACY_ISTIO_MTLS' })];
    expect(outbound({ workloads }, vip).reasonName).toBe('UNSUPPORTED_PROTOCOL');
  });
});

describe('ports of a service', () => {
  const named = (ports: ReturnType<typeof port>[]) => [{ service: catalogKey, ports }];

  it('take the endpoint at its word before the service', () => {
    const workloads = [front, catalogPod(1, { services: named([port(80, 9090)]) })];
    expect(paths(outbound({ workloads }, vip))).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:9090 x1']);
  });

  it('come from the service where the endpoint says nothing', () => {
    const workloads = [front, catalogPod(1, { services: named([]) })];
    expect(paths(outbound({ workloads }, vip))).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1']);
  });

  it('leave out endpoints that do not serve a named port', () => {
    const services = [catalogService({ ports: [port(80)] })];
    const workloads = [front, catalogPod(1), catalogPod(2, { services: named([port(443, 8443)]) })];
    expect(paths(outbound({ services, workloads }, vip))).toEqual([
      'tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1',
    ]);
  });

  it('may be any for an endpoint with a tunnel end of its own', () => {
    const tunnel = { protocol: 'PROXY', port: 15_088 } as const;
    const workloads = [front, catalogPod(1, { services: named([]), applicationTunnel: tunnel })];
    const judgement = outbound({ workloads, services: [catalogService({ ports: [] })] }, ['10.96.0.1', 8443]);
    expect(paths(judgement)).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:8443 x1']);
  });
});

describe('several services', () => {
  const serviceIn = (namespace: string, fields = {}) =>
    catalogService({ namespace, hostname: `${namespace}.example`, canonical: false, ...fields });
  const chosen = (...services: ReturnType<typeof catalogService>[]) => outbound({ services }, vip).service;

  it("prefer the client's own namespace, then the canonical one, then the first by name", () => {
    expect(chosen(serviceIn('a', { canonical: true }), serviceIn('shop'))).toBe('shop/shop.example');
    expect(chosen(serviceIn('a'), serviceIn('b', { canonical: true }))).toBe('b/b.example');
    expect(chosen(serviceIn('b'), serviceIn('a'))).toBe('a/a.example');
  });

  it('do not exist outside their namespace when they are visible there only', () => {
    expect(chosen(serviceIn('a', { visibility: 'NAMESPACE' }), serviceIn('b'))).toBe('b/b.example');
    expect(outbound({ services: [serviceIn('a', { visibility: 'NAMESPACE' })] }, vip).reasonName).toBe(
      'UNKNOWN_DESTINATION',
    );
  });

  it('count with an exact address before any range, with a longer range before a shorter', () => {
    const range = (namespace: string, length: number) =>
      serviceIn(namespace, { addresses: [address('10.96.0.0', '', length)] });
    expect(chosen(range('shop', 16), serviceIn('a'))).toBe('a/a.example');
    expect(chosen(range('a', 16), range('b', 24))).toBe('b/b.example');
    expect(chosen(range('b', 24), range('shop', 16))).toBe('shop/shop.example');
  });

  it('are looked for on the own network only', () => {
    const services = [catalogService({ addresses: [address('10.96.0.1', 'east')] })];
    expect(outbound({ services }, vip).reasonName).toBe('UNKNOWN_DESTINATION');
  });
});

describe('load balancing', () => {
  const place = (number: number, region: string, zone: string, fields = {}) =>
    catalogPod(number, { locality: { region, zone, subzone: '' }, ...fields });
  const source = pod('front', {
    addresses: ['10.0.1.1'],
    locality: { region: 'r1', zone: 'z1', subzone: '' },
  });
  const balanced = (mode: LoadBalancingMode, routingPreference: LoadBalancingScope[]) =>
    catalogService({ loadBalancing: { mode, routingPreference, healthPolicy: 'ONLY_HEALTHY' } });
  const chosen = (
    mode: LoadBalancingMode,
    preference: LoadBalancingScope[],
    ...endpoints: ReturnType<typeof place>[]
  ) => outbound({ workloads: [source, ...endpoints], services: [balanced(mode, preference)] }, vip);
  const numbers = (judgement: ReturnType<typeof chosen>) =>
    judgement.endpoints.map(({ workloadUid }) => workloadUid.replace(/.*-/, ''));

  const near = place(1, 'r1', 'z1');
  const inRegion = place(2, 'r1', 'z2');
  const far = place(3, 'r2', 'z1');

  it('shares by capacity', () => {
    const workloads = [
      front,
      catalogPod(1, { capacity: 3 }),
      catalogPod(2, { capacity: 1 }),
      catalogPod(3, { capacity: 0 }),
    ];
    expect(paths(outbound({ workloads }, vip)).map((path) => path.replace(/.* /, ''))).toEqual(['x3', 'x1']);
  });

  it('takes all without mode', () => {
    expect(numbers(chosen('UNSPECIFIED_MODE', ['REGION'], near, inRegion, far))).toEqual(['1', '2', '3']);
  });

  it('fails over from the nearest to the farthest', () => {
    const preference: LoadBalancingScope[] = ['REGION', 'ZONE'];
    expect(numbers(chosen('FAILOVER', preference, near, inRegion, far))).toEqual(['1']);
    expect(numbers(chosen('FAILOVER', preference, inRegion, far))).toEqual(['2']);
    expect(numbers(chosen('FAILOVER', preference, far))).toEqual(['3']);
  });

  it('does not count a zone of the same name in another region', () => {
    expect(numbers(chosen('FAILOVER', ['REGION', 'ZONE'], far, place(4, 'r3', 'z9')))).toEqual(['3', '4']);
  });

  it('keeps strictly to every scope', () => {
    expect(
      numbers(chosen('STRICT', ['NODE'], place(1, '', '', { node: 'node-1' }), place(2, '', ''))),
    ).toEqual(['1']);
    expect(chosen('STRICT', ['NODE'], place(2, '', '')).reasonName).toBe('NO_HEALTHY_ENDPOINT');
    expect(numbers(chosen('STRICT', ['REGION', 'ZONE'], near, inRegion))).toEqual(['1']);
  });

  it('ranks among endpoints that can be reached', () => {
    const remote = place(1, 'r1', 'z1', { network: 'east' });
    expect(numbers(chosen('FAILOVER', ['REGION', 'ZONE'], remote, inRegion))).toEqual(['2']);
  });

  it('uses ill endpoints where the service says so', () => {
    const services = [
      catalogService({
        loadBalancing: { mode: 'UNSPECIFIED_MODE', routingPreference: [], healthPolicy: 'ALLOW_ALL' },
      }),
    ];
    const workloads = [front, catalogPod(1, { status: 'UNHEALTHY' })];
    expect(outbound({ services, workloads }, vip).endpoints).toHaveLength(1);
  });

  it('passes the original destination through for PASSTHROUGH', () => {
    const judgement = chosen('PASSTHROUGH', [], near);
    expect(paths(judgement)).toEqual(['plaintext 10.96.0.1:80 x1']);
    expect(judgement.endpoints[0]).toMatchObject({ via: 'passthrough', workloadUid: '' });
  });
});

describe('other networks', () => {
  it('are refused with that reason', () => {
    const workloads = [front, catalogPod(1, { network: 'east' })];
    expect(outbound({ workloads }, vip).reasonName).toBe('REMOTE_NETWORK');
  });

  it('lose their share while an endpoint here is healthy', () => {
    const workloads = [front, catalogPod(1, { network: 'east' }), catalogPod(2)];
    expect(paths(outbound({ workloads }, vip))).toEqual(['tunnel 10.0.2.2:15008 for 10.0.2.2:8080 x1']);
  });

  it('are told before an ill endpoint here', () => {
    const workloads = [front, catalogPod(1, { network: 'east' }), catalogPod(2, { status: 'UNHEALTHY' })];
    expect(outbound({ workloads }, vip).reasonName).toBe('REMOTE_NETWORK');
  });
});

describe('a workload address', () => {
  it('means that workload, on the port asked for', () => {
    const judgement = outbound({}, ['10.0.2.1', 9000]);
    expect(paths(judgement)).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:9000 x1']);
    expect(judgement).toMatchObject({ service: '', reason: 0 });
    expect(judgement.endpoints[0]).toMatchObject({ forwardedHost: '' });
    expect(judgement.endpoints[0]?.labels.destination_service).toBe('unknown');
  });

  it('means it whatever its health and capacity: it was asked for by address', () => {
    const workloads = [front, catalogPod(1, { status: 'UNHEALTHY', capacity: 0 })];
    expect(paths(outbound({ workloads }, ['10.0.2.1', 80]))).toEqual([
      'tunnel 10.0.2.1:15008 for 10.0.2.1:80 x1',
    ]);
  });

  it('that several own means the one with a tunnel, then the healthy one', () => {
    const plain = pod('a', { addresses: ['10.0.2.9'], tunnelProtocol: 'NONE' });
    const ill = pod('b', { addresses: ['10.0.2.9'], status: 'UNHEALTHY' });
    const well = pod('c', { addresses: ['10.0.2.9'] });
    const chosen = (...workloads: (typeof plain)[]) =>
      outbound({ workloads: [front, ...workloads] }, ['10.0.2.9', 80]).endpoints[0]?.workloadUid;
    expect(chosen(plain, ill, well)).toBe(well.uid);
    expect(chosen(plain, ill)).toBe(ill.uid);
    expect(chosen(plain)).toBe(plain.uid);
  });

  it('that is a service address too means the endpoints of the service, without its waypoint', () => {
    const services = [catalogService({ addresses: [address('10.0.2.1')], waypoint: undefined })];
    const judgement = outbound({ services }, ['10.0.2.1', 80]);
    expect(judgement.endpoints.map(({ workloadUid }) => workloadUid)).toEqual([
      'c//Pod/shop/catalog-1',
      'c//Pod/shop/catalog-2',
    ]);
  });
});

describe('the pod itself', () => {
  it('is left alone at its own and at loopback addresses', () => {
    for (const own of ['10.0.1.1', 'fd00:1::1', '127.0.0.1', '::1', '0.0.0.0', '::ffff:127.0.0.1']) {
      expect(outbound({}, [own, 80]).endpoints).toMatchObject([{ path: 'plaintext', port: 80 }]);
    }
  });

  it('is left alone at an address that only its namespace knows', () => {
    const source = { ...enrolled(front), addresses: ['10.0.1.1', '10.0.9.9'] };
    expect(paths(outbound({}, ['10.0.9.9', 80], { source }))).toEqual(['plaintext 10.0.9.9:80 x1']);
  });

  it('is not at an address that only an outdated state gives it: that one is another pod’s by now', () => {
    const outdated = pod('front', {
      addresses: ['10.0.1.1', '10.0.2.9'],
      services: [{ service: catalogKey, ports: [] }],
    });
    const heir = pod('heir', { addresses: ['10.0.2.9'] });
    const source = { ...enrolled(front), addresses: ['10.0.1.1'] };
    const workloads = [outdated, heir];
    expect(paths(outbound({ workloads }, ['10.0.2.9', 80], { source }))).not.toContain(
      'plaintext 10.0.2.9:80 x1',
    );
    const elsewhere = { ...enrolled(front), addresses: ['10.0.8.8'] };
    const own = [
      pod('front', { addresses: ['10.0.1.1'], services: [{ service: catalogKey, ports: [port(80, 8080)] }] }),
    ];
    expect(outbound({ workloads: own }, vip, { source: elsewhere })).toMatchObject({
      reasonName: 'NO_HEALTHY_ENDPOINT',
      endpoints: [],
    });
  });

  it("may not call the agent's ports", () => {
    for (const own of ['10.0.1.1', '127.0.0.1', '::1']) {
      expect(outbound({}, [own, 15_008])).toMatchObject({ reasonName: 'SELF_CALL', endpoints: [] });
    }
  });

  it('behind its own service is called directly, not by a tunnel to itself', () => {
    const workloads = [
      pod('front', { addresses: ['10.0.1.1'], services: [{ service: catalogKey, ports: [port(80, 8080)] }] }),
    ];
    expect(paths(outbound({ workloads }, vip))).toEqual(['plaintext 10.0.1.1:8080 x1']);
  });

  it("behind its own service is refused on the agent's ports", () => {
    const ports = [port(80, 15_008)];
    const workloads = [pod('front', { addresses: ['10.0.1.1'], services: [{ service: catalogKey, ports }] })];
    expect(outbound({ workloads }, vip).reasonName).toBe('SELF_CALL');
  });
});

describe('a destination that nobody knows', () => {
  const nobody = ['10.0.7.7', 80] as const;

  it('is refused', () => {
    expect(outbound({}, nobody)).toMatchObject({ reasonName: 'UNKNOWN_DESTINATION', endpoints: [] });
  });

  it('is passed on where the mesh allows that', () => {
    expect(paths(outbound({}, nobody, { settings: { allowUnknownDestinations: true } }))).toEqual([
      'plaintext 10.0.7.7:80 x1',
    ]);
  });

  it('is passed on outside of the ranges of the cluster only', () => {
    const inside = ['10.0.0.0/16', 'fd00::/16'].flatMap((text) => parseCidr(text) ?? []);
    expect(outbound({}, nobody, { settings: { clusterRanges: inside } }).reasonName).toBe(
      'UNKNOWN_DESTINATION',
    );
    const judgement = outbound({}, ['192.0.2.1', 443], { settings: { clusterRanges: inside } });
    expect(paths(judgement)).toEqual(['plaintext 192.0.2.1:443 x1']);
    expect(judgement.explanation.join('\n')).toContain("outside the cluster's ranges");
  });

  it('is judged by the ranges that the mesh tells too', () => {
    const told = meshSettingsService(createMeshSettings({ podRanges: ['10.0.0.0/16'] }));
    const services = told === undefined ? [] : [told];
    expect(outbound({ services }, nobody).reasonName).toBe('UNKNOWN_DESTINATION');
    expect(outbound({ services }, ['192.0.2.1', 443]).reasonName).toBe('NONE');
  });

  it('depends on that address and on ranges, so that it is judged again when somebody comes to own it', () => {
    expect(outbound({}, nobody).dependencies).toEqual([
      'workload:c//Pod/shop/front',
      'address:/10.0.7.7',
      'ranges:',
      'service:hadal-system/mesh-settings.hadal.internal',
    ]);
  });

  it('is refused when it is no address at all', () => {
    expect(outbound({}, ['nonsense', 80]).reasonName).toBe('UNKNOWN_DESTINATION');
  });
});

describe('the explanation', () => {
  it('tells the way in order', () => {
    expect(outbound({}, vip).explanation).toEqual([
      'c//Pod/shop/front connects to 10.96.0.1:80',
      '10.96.0.1 is an address of service shop/catalog.shop.svc.cluster.local',
      'shop/catalog.shop.svc.cluster.local has 2 endpoint(s), 2 of them may be used',
      'goes by tunnel to 10.0.2.1:15008 for 10.0.2.1:8080, tunnel to 10.0.2.2:15008 for 10.0.2.2:8080',
    ]);
  });

  it('stays short for a large service', () => {
    const many = Array.from({ length: 1000 }, (_, index) =>
      createWorkload({ ...catalogPod(1), uid: `p${index}`, network: index < 500 ? 'east' : '' }),
    );
    const judgement = outbound({ workloads: [front, ...many] }, vip);
    expect(judgement.endpoints).toHaveLength(500);
    expect(judgement.explanation.length).toBeLessThan(20);
    expect(judgement.explanation.join('\n')).toContain('and 492 more like these');
  });

  it('ends with the reason of a refusal', () => {
    expect(outbound({ ...usual, workloads: [] }, vip).explanation.at(-1)).toBe(
      "refused: the pod's own workload is not known yet",
    );
  });
});
