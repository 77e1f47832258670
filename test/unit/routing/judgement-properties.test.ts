import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { policyKey } from '../../../src/model/authorization.ts';
import { diffSnapshots, isAffected } from '../../../src/model/diff.ts';
import type { GatewayAddress } from '../../../src/model/gateway-address.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import {
  createService,
  loadBalancingModes,
  loadBalancingScopes,
  type Service,
  serviceKey,
} from '../../../src/model/service.ts';
import { createSnapshot, type MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload, type Port, type Workload } from '../../../src/model/workload.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import { policy } from '../model/arbitraries.ts';
import { enrolled, port, settings } from './bookshop.ts';

/** Meshes over few names and addresses, so that resources meet, share and shadow each other. */
const hosts = ['a.svc', 'b.svc'];
const namespaces = ['a', 'shop'] as const;
const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2'] as const;
const pick = <const T>(...choices: readonly T[]) => fc.constantFrom(...choices);
const seldom = <T, U>(usual: T, other: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
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
      ),
    )
    .map(([own, services, ports, rest]) => {
      const [tunnelProtocol, status, network, waypoint, networkMode, applicationTunnel, capacity, named] =
        rest;
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

const someMesh: fc.Arbitrary<MeshResources> = fc.record({
  // `a` asks and `b` answers: mostly they are there.
  workloads: fc
    .tuple(...['a', 'b', 'c', 'd', 'e'].map(workloadCalled), fc.integer({ min: 1, max: 5 }))
    .map((parts) => (parts.slice(0, 5) as Workload[]).slice(0, parts[5] as number)),
  services: fc.array(someService, { maxLength: 4 }),
  policies: fc.array(policy, { maxLength: 3 }),
});

/** The mesh again with one resource replaced, added or taken away: what a later state may look like. */
const twoMeshes = fc
  .tuple(someMesh, someMesh, pick('workloads', 'services', 'policies'), fc.nat(4), fc.boolean())
  .map(([old, other, kind, at, isReplaced]) => {
    const kept: unknown[] = [...old[kind]];
    kept.splice(at, 1, ...(isReplaced ? other[kind].slice(at, at + 1) : []));
    return [old, { ...old, [kind]: kept }] as const;
  });

const destination = fc.tuple(pick(...addresses, '10.0.0.9'), pick(80, 80, 81, 82, 15_008));

const outboundOf = (mesh: MeshResources, [address, number]: readonly [string, number]) => {
  const source = { uid: 'a', namespace: 'shop', serviceAccount: 'a', addresses: [] };
  return judgeOutbound(createSnapshot(mesh), { source, address, port: number }, settings);
};

const inboundQuestion = fc.record({
  destination: fc.constant({ uid: 'b', namespace: 'shop', serviceAccount: 'b', addresses: [] as string[] }),
  channel: pick('hbone', 'plaintext'),
  peerIdentity: pick('spiffe://cluster.local/ns/shop/sa/a', 'spiffe://cluster.local/ns/a/sa/b'),
  peerAddress: pick('10.0.0.1', 'fd00::1'),
  authority: fc.oneof(
    destination.map(([address, number]) =>
      address.includes(':') ? `[${address}]:${number}` : `${address}:${number}`,
    ),
    fc.tuple(pick(...hosts), pick(80, 81)).map(([host, number]) => `${host}:${number}`),
  ),
  forwardedHost: seldom('', pick(...hosts)),
  baggage: fc.constant(''),
  forwardedNetwork: seldom('', pick('east')),
});

describe('judgements of random meshes', () => {
  it('change only when one of their dependencies did (outbound)', () => {
    let changed = 0;
    fc.assert(
      fc.property(twoMeshes, destination, ([old, next], to) => {
        const before = outboundOf(old, to);
        const isSame = JSON.stringify(before) === JSON.stringify(outboundOf(next, to));
        changed += isSame ? 0 : 1;
        expect(
          isSame || isAffected(before.dependencies, diffSnapshots(createSnapshot(old), createSnapshot(next))),
        ).toBe(true);
      }),
      { numRuns: 6000 },
    );
    expect(changed).toBeGreaterThan(200);
  });

  it('change only when one of their dependencies did (inbound)', () => {
    let changed = 0;
    fc.assert(
      fc.property(twoMeshes, inboundQuestion, ([old, next], question) => {
        const before = judgeInbound(createSnapshot(old), question, settings);
        const isSame =
          JSON.stringify(before) === JSON.stringify(judgeInbound(createSnapshot(next), question, settings));
        changed += isSame ? 0 : 1;
        expect(
          isSame || isAffected(before.dependencies, diffSnapshots(createSnapshot(old), createSnapshot(next))),
        ).toBe(true);
      }),
      { numRuns: 6000 },
    );
    expect(changed).toBeGreaterThan(200);
  });

  it('never send in the clear what has a tunnel, nor a tunnel to the pod itself', () => {
    const seen = { tunnel: 0, plaintext: 0, waypoint: 0, refused: 0 };
    fc.assert(
      fc.property(someMesh, destination, (mesh, to) => {
        const judgement = outboundOf(mesh, to);
        expect(judgement.reason === reasons.NONE).toBe(judgement.endpoints.length > 0);
        seen.refused += judgement.reason === reasons.NONE ? 0 : 1;
        for (const endpoint of judgement.endpoints) {
          const workload = createSnapshot(mesh).workloads.get(endpoint.workloadUid);
          seen[endpoint.path] += 1;
          seen.waypoint += endpoint.via === 'waypoint' ? 1 : 0;
          expect(Number.isInteger(endpoint.weight) && endpoint.weight >= 1).toBe(true);
          expect(endpoint.port).toBeGreaterThan(0);
          if (endpoint.path === 'plaintext') {
            expect(
              endpoint.via === 'passthrough' || workload?.uid === 'a' || workload?.tunnelProtocol === 'NONE',
            ).toBe(true);
          } else {
            expect(workload?.uid).not.toBe('a');
            expect(endpoint.peerIdentities).toContain(
              `spiffe://cluster.local/ns/shop/sa/${workload?.serviceAccount}`,
            );
          }
        }
      }),
      { numRuns: 6000 },
    );
    expect(Math.min(...Object.values(seen)), JSON.stringify(seen)).toBeGreaterThan(30);
  });

  it('deliver to the pod itself and to nobody else, or refuse with a status', () => {
    fc.assert(
      fc.property(someMesh, inboundQuestion, (mesh, question) => {
        const judgement = judgeInbound(createSnapshot(mesh), question, settings);
        const pod = createSnapshot(mesh).workloads.get('b');
        expect(judgement.status === 200).toBe(judgement.reason === reasons.NONE);
        if (judgement.status === 200) {
          expect(pod?.addresses).toContain(judgement.upstreamAddress);
          expect(judgement.upstreamPort).not.toBe(15_008);
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('do not depend on the order in which resources came', () => {
    const backwards = (mesh: MeshResources): MeshResources => ({
      workloads: mesh.workloads.toReversed(),
      services: mesh.services.toReversed(),
      policies: mesh.policies.toReversed(),
    });
    // Of two resources with one name the last one counts, so each name may stand only once here.
    const isUnique = ({ services, policies }: MeshResources) =>
      new Set(services.map(serviceKey)).size === services.length &&
      new Set(policies.map(policyKey)).size === policies.length;
    fc.assert(
      fc.property(someMesh.filter(isUnique), destination, inboundQuestion, (mesh, to, question) => {
        expect(outboundOf(backwards(mesh), to)).toEqual(outboundOf(mesh, to));
        const inboundOf = (each: MeshResources) => judgeInbound(createSnapshot(each), question, settings);
        expect(inboundOf(backwards(mesh))).toEqual(inboundOf(mesh));
      }),
      { numRuns: 2000 },
    );
  });

  it('never break, whatever is asked', () => {
    const text = fc.oneof(fc.string(), pick('10.0.0.1', 'a.svc:80', ''));
    fc.assert(
      fc.property(
        someMesh,
        fc.array(text, { minLength: 8, maxLength: 8 }),
        fc.integer(),
        (mesh, texts, number) => {
          const [
            address = '',
            uid = '',
            peerIdentity = '',
            peerAddress = '',
            authority = '',
            host = '',
            baggage = '',
            net = '',
          ] = texts;
          const snapshot = createSnapshot(mesh);
          const pod = {
            ...enrolled(createWorkload({ uid: 'b', serviceAccount: 'b', namespace: 'shop' })),
            addresses: [uid],
          };
          const common = {
            destination: pod,
            peerIdentity,
            peerAddress,
            authority,
            forwardedHost: host,
            baggage,
            forwardedNetwork: net,
          };
          judgeOutbound(snapshot, { source: pod, address, port: number }, settings);
          judgeInbound(snapshot, { ...common, channel: 'hbone' }, settings);
          judgeInbound(snapshot, { ...common, channel: 'plaintext' }, settings);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
