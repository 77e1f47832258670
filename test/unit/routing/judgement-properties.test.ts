import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { policyKey } from '../../../src/model/authorization.ts';
import { diffSnapshots, isAffected } from '../../../src/model/diff.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { serviceKey } from '../../../src/model/service.ts';
import { createSnapshot, type MeshResources } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import { enrolled, settings } from './bookshop.ts';
import { destination, everybodyHere, hosts, pick, seldom, someMesh } from './random-mesh.ts';

/** The mesh again with one resource replaced, added or taken away: what a later state may look like. */
const twoMeshes = fc
  .tuple(someMesh, someMesh, pick('workloads', 'services', 'policies'), fc.nat(4), fc.boolean())
  .map(([old, other, kind, at, isReplaced]) => {
    const kept: unknown[] = [...old[kind]];
    kept.splice(at, 1, ...(isReplaced ? other[kind].slice(at, at + 1) : []));
    return [old, { ...old, [kind]: kept }] as const;
  });

const outboundOf = (mesh: MeshResources, [address, number]: readonly [string, number]) => {
  const source = { uid: 'a', namespace: 'shop', serviceAccount: 'a', addresses: [] };
  return judgeOutbound(
    createSnapshot(mesh),
    { source, address, port: number, local: everybodyHere },
    settings,
  );
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
