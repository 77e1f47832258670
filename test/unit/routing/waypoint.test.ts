import { describe, expect, it } from 'vitest';
import { createService } from '../../../src/model/service.ts';
import { shareWeights } from '../../../src/routing/load-balancing.ts';
import {
  address,
  byAddress,
  byName,
  catalogPod,
  catalogService,
  enrolled,
  front,
  outbound,
  paths,
  pod,
  port,
} from './bookshop.ts';

const vip = ['10.96.0.1', 80] as const;
const waypointHost = 'gate.shop.svc.cluster.local';
const waypointService = createService({
  name: 'gate',
  namespace: 'shop',
  hostname: waypointHost,
  addresses: [address('10.96.0.9')],
  ports: [port(15_008, 15_008)],
});
const gate = (number: number, fields = {}) =>
  pod(`gate-${number}`, {
    addresses: [`10.0.3.${number}`],
    nativeTunnel: true,
    services: [{ service: `shop/${waypointHost}`, ports: [port(15_008, 15_008)] }],
    ...fields,
  });
const guarded = catalogService({ waypoint: byName(waypointHost) });
const mesh = { workloads: [front, catalogPod(1), gate(1)], services: [guarded, waypointService] };

describe('the waypoint of a service', () => {
  it('is sent everything, with the address that was asked for as authority', () => {
    const judgement = outbound(mesh, vip);
    expect(paths(judgement)).toEqual(['tunnel 10.0.3.1:15008 for 10.96.0.1:80 x1']);
    expect(judgement.endpoints[0]).toMatchObject({
      via: 'waypoint',
      workloadUid: 'c//Pod/shop/gate-1',
      peerIdentities: ['spiffe://cluster.local/ns/shop/sa/gate'],
      forwardedHost: 'catalog.shop.svc.cluster.local',
      labels: {
        destination_service_name: 'catalog',
        destination_workload: 'gate',
        connection_security_policy: 'mutual_tls',
      },
    });
    expect(judgement.service).toBe('shop/catalog.shop.svc.cluster.local');
  });

  it('may be named by the address of its service or of its pod', () => {
    for (const named of ['10.96.0.9', '10.0.3.1']) {
      const services = [catalogService({ waypoint: byAddress(named) }), waypointService];
      expect(paths(outbound({ ...mesh, services }, vip))).toEqual([
        'tunnel 10.0.3.1:15008 for 10.96.0.1:80 x1',
      ]);
    }
  });

  it('may listen on a port of its own', () => {
    const services = [catalogService({ waypoint: byName(waypointHost, 'shop', 15_009) }), waypointService];
    expect(paths(outbound({ ...mesh, services }, vip))).toEqual([
      'tunnel 10.0.3.1:15009 for 10.96.0.1:80 x1',
    ]);
    const mapped = createService({ ...waypointService, ports: [port(15_009, 25_009)] });
    expect(paths(outbound({ ...mesh, services: [services[0] ?? guarded, mapped] }, vip))).toEqual([
      'tunnel 10.0.3.1:25009 for 10.96.0.1:80 x1',
    ]);
  });

  it.each([
    ['is not known', { services: [guarded] }],
    ['has no endpoint', { workloads: [front, catalogPod(1)] }],
    ['has no healthy endpoint', { workloads: [front, catalogPod(1), gate(1, { status: 'UNHEALTHY' })] }],
    ['has an endpoint without address', { workloads: [front, catalogPod(1), gate(1, { addresses: [] })] }],
  ])('is not gone around when it %s', (_, change) => {
    expect(outbound({ ...mesh, ...change }, vip)).toMatchObject({
      reasonName: 'WAYPOINT_NOT_READY',
      endpoints: [],
    });
  });

  it('on another network is refused with that reason', () => {
    const workloads = [front, catalogPod(1), gate(1, { network: 'east' })];
    expect(outbound({ ...mesh, workloads }, vip).reasonName).toBe('REMOTE_NETWORK');
  });

  it('does not send its own traffic to itself', () => {
    const source = enrolled(gate(1));
    expect(paths(outbound(mesh, vip, { source }))).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1']);
  });

  it('shares by weight, whatever the number of endpoints', () => {
    const other = createService({ ...waypointService, hostname: 'canary.shop.svc', addresses: [] });
    const canary = gate(9, {
      addresses: ['10.0.3.9'],
      services: [{ service: 'shop/canary.shop.svc', ports: [] }],
    });
    const weightedWaypoints = [
      { destination: byName(waypointHost), weight: 90 },
      { destination: byName('canary.shop.svc'), weight: 10 },
      { destination: byName('off.shop.svc'), weight: 0 },
    ];
    const services = [
      catalogService({ waypoint: byName(waypointHost), weightedWaypoints }),
      waypointService,
      other,
    ];
    const workloads = [front, catalogPod(1), gate(1), gate(2), canary];
    expect(
      outbound({ services, workloads }, vip).endpoints.map(({ address: to, weight }) => [to, weight]),
    ).toEqual([
      ['10.0.3.1', 450_000],
      ['10.0.3.2', 450_000],
      ['10.0.3.9', 100_000],
    ]);
    expect(outbound({ services, workloads: [front, gate(1)] }, vip).endpoints).toHaveLength(1);
  });
});

describe('the waypoint of a workload', () => {
  const behind = catalogPod(1, { waypoint: byName(waypointHost) });
  const guardedPod = { workloads: [front, behind, gate(1)], services: [catalogService(), waypointService] };

  it('is sent what is addressed to the workload', () => {
    expect(paths(outbound(guardedPod, ['10.0.2.1', 9000]))).toEqual([
      'tunnel 10.0.3.1:15008 for 10.0.2.1:9000 x1',
    ]);
  });

  it('is not asked for what is addressed to a service', () => {
    expect(paths(outbound(guardedPod, vip))).toEqual(['tunnel 10.0.2.1:15008 for 10.0.2.1:8080 x1']);
  });

  it('reaches the workload itself', () => {
    const source = enrolled(gate(1));
    expect(paths(outbound(guardedPod, ['10.0.2.1', 9000], { source }))).toEqual([
      'tunnel 10.0.2.1:15008 for 10.0.2.1:9000 x1',
    ]);
  });

  it('is recognised by its identity too', () => {
    const sibling = gate(7, { services: [] });
    const workloads = [...guardedPod.workloads, sibling];
    const judgement = outbound({ ...guardedPod, workloads }, ['10.0.2.1', 9000], {
      source: enrolled(sibling),
    });
    expect(judgement.endpoints[0]?.via).toBe('endpoint');
  });

  it('is not gone around when it is not ready', () => {
    const workloads = [front, behind];
    expect(outbound({ ...guardedPod, workloads }, ['10.0.2.1', 9000]).reasonName).toBe('WAYPOINT_NOT_READY');
  });

  it('counts where a workload owns the address of a service', () => {
    const services = [
      catalogService({ addresses: [address('10.0.2.1')], waypoint: byName('none.shop.svc') }),
      waypointService,
    ];
    const workloads = [front, behind, catalogPod(2), gate(1)];
    expect(paths(outbound({ services, workloads }, ['10.0.2.1', 80]))).toEqual([
      'tunnel 10.0.3.1:15008 for 10.0.2.1:8080 x500000',
      'tunnel 10.0.2.2:15008 for 10.0.2.2:8080 x500000',
    ]);
  });
});

describe('shareWeights', () => {
  it('leaves a single alternative as it is and gives the share of empty ones to the others', () => {
    const one = { share: 5, endpoints: [{ weight: 2 }, { weight: 1 }] };
    expect(shareWeights([one, { share: 95, endpoints: [] }])).toEqual(one.endpoints);
    expect(shareWeights([])).toEqual([]);
  });

  it('never gives an endpoint weight 0', () => {
    const many = { share: 1, endpoints: Array.from({ length: 10 }, () => ({ weight: 1 })) };
    const weights = shareWeights([{ share: 4_000_000_000, endpoints: [{ weight: 1 }] }, many]);
    expect(Math.min(...weights.map(({ weight }) => weight))).toBe(1);
  });
});
