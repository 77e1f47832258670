import fc from 'fast-check';
import type { GatewayAddress } from '../../../src/model/gateway-address.ts';
import { sameNodeExtension } from '../../../src/model/same-node.ts';
import {
  createService,
  loadBalancingModes,
  loadBalancingScopes,
  type Service,
} from '../../../src/model/service.ts';
import type { MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload, type Port, type Workload } from '../../../src/model/workload.ts';
import type { LocalNode } from '../../../src/routing/judgement.ts';
import { policy } from '../model/arbitraries.ts';
import { port } from './bookshop.ts';

/** Meshes over few names and addresses, so that resources meet, share and shadow each other. */
export const hosts = ['a.svc', 'b.svc'];
const namespaces = ['a', 'shop'] as const;
export const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2'] as const;
export const pick = <const T>(...choices: readonly T[]) => fc.constantFrom(...choices);
export const seldom = <T, U>(usual: T, other: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: other });

const gateway: fc.Arbitrary<GatewayAddress> = fc
  .oneof(
    fc
      .tuple(pick(...namespaces), pick(...hosts))
      .map(([namespace, hostname]) => ({ kind: 'hostname' as const, namespace, hostname })),
    pick(...addresses).map((address) => ({ kind: 'address' as const, network: '', address })),
  )
  .map((destination) => ({ destination, hboneMtlsPort: 0 }));

const allPorts = [port(80, 8080), port(81, 15_008), port(82)];
const somePorts: fc.Arbitrary<Port[]> = seldom(allPorts, fc.subarray(allPorts));

const workloadCalled = (name: string): fc.Arbitrary<Workload> =>
  fc
    .tuple(
      fc.subarray([...addresses], { maxLength: 2 }),
      fc.subarray(
        namespaces.flatMap((namespace) => hosts.map((host) => `${namespace}/${host}`)),
        { maxLength: 2 },
      ),
      somePorts,
      fc.tuple(
        pick('HBONE', 'HBONE', 'HBONE', 'HBONE', 'NONE', 'NONE', 'LEGACY_ISTIO_MTLS'),
        seldom('HEALTHY', pick('UNHEALTHY')),
        seldom('', pick('east')),
        seldom(undefined, gateway),
        fc.oneof({ weight: 9, arbitrary: pick('STANDARD') }, { weight: 1, arbitrary: pick('HOST_NETWORK') }),
        seldom(undefined, pick({ protocol: 'PROXY', port: 15_088 } as const)),
        seldom(1, pick(0, 5)),
        fc.subarray(['a/a', 'shop/b'], { maxLength: 1 }),
        seldom('node-1', pick('node-2')),
        seldom(undefined, fc.record({ mode: pick('tunnel', 'direct'), from: pick('workload', 'namespace') })),
      ),
    )
    .map(([own, services, ports, rest]) => {
      const [tunnelProtocol, status, network, waypoint, networkMode, ...more] = rest;
      const [applicationTunnel, capacity, named, node, wish] = more;
      return createWorkload({
        uid: name,
        namespace: 'shop',
        serviceAccount: name,
        addresses: own,
        services: services.map((service) => ({ service, ports })),
        tunnelProtocol: tunnelProtocol as 'HBONE',
        status: status as 'HEALTHY',
        networkMode: networkMode as 'STANDARD',
        network,
        waypoint,
        applicationTunnel,
        capacity,
        authorizationPolicies: named,
        node,
        extensions: wish === undefined ? [] : [sameNodeExtension(wish)],
      });
    });

const someService: fc.Arbitrary<Service> = fc
  .tuple(
    pick(...namespaces),
    pick(...hosts),
    fc.subarray([...addresses], { maxLength: 2 }),
    somePorts,
    fc.tuple(
      seldom(undefined, pick(8, 31)),
      fc.option(gateway, { nil: undefined }),
      pick(...loadBalancingModes),
      fc.subarray(loadBalancingScopes.slice(1), { maxLength: 2 }),
      seldom('ONLY_HEALTHY', pick('ALLOW_ALL')),
      seldom('PUBLIC', pick('NAMESPACE')),
      fc.boolean(),
    ),
  )
  .map(([namespace, hostname, own, ports, rest]) => {
    const [length, waypoint, mode, routingPreference, healthPolicy, visibility, canonical] = rest;
    return createService({
      namespace,
      hostname,
      addresses: own.map((address) => ({ network: '', address, length })),
      ports,
      waypoint,
      loadBalancing: { mode, routingPreference, healthPolicy: healthPolicy as 'ALLOW_ALL' },
      visibility: visibility as 'PUBLIC',
      canonical,
    });
  });

export const someMesh: fc.Arbitrary<MeshResources> = fc.record({
  // `a` asks and `b` answers: mostly they are there.
  workloads: fc
    .tuple(...['a', 'b', 'c', 'd', 'e'].map(workloadCalled), fc.integer({ min: 1, max: 5 }))
    .map((parts) => (parts.slice(0, 5) as Workload[]).slice(0, parts[5] as number)),
  services: fc.array(someService, { maxLength: 4 }),
  policies: fc.array(policy, { maxLength: 3 }),
});

export const destination = fc.tuple(pick(...addresses, '10.0.0.9'), pick(80, 80, 81, 82, 15_008));

/** The agent of node-1 carries all pods, with every address. */
export const everybodyHere: LocalNode = {
  path: 'stays',
  pod: (uid) => ({ uid, namespace: 'shop', serviceAccount: uid, addresses }),
};
