import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAuthority } from '../../../src/model/authority.ts';
import type { AuthorizationFields } from '../../../src/model/authorization.ts';
import { createAuthorization, createMatch } from '../../../src/model/authorization.ts';
import { peerAuthenticationPolicy } from '../../../src/model/peer-authentication.ts';
import { reasons } from '../../../src/model/reasons.gen.ts';
import { sameNodeWish } from '../../../src/model/same-node.ts';
import { createSnapshot, type MeshSnapshot } from '../../../src/model/snapshot.ts';
import { createWorkload } from '../../../src/model/workload.ts';
import { judgeInbound } from '../../../src/routing/inbound.ts';
import type { JudgedEndpoint } from '../../../src/routing/judgement.ts';
import { judgeOutbound } from '../../../src/routing/outbound.ts';
import { settings } from './bookshop.ts';
import { addresses, destination, everybodyHere, pick, seldom, someMesh } from './random-mesh.ts';

const ofSource = ['10.0.5.5', 'fd00::5'] as const;

/** Policies that meet the pods of these meshes more often than arbitrary ones do. */
const near = fc
  .record({
    scope: pick('GLOBAL', 'NAMESPACE'),
    action: pick('ALLOW', 'DENY'),
    sourceIps: fc.subarray([...addresses, ...ofSource], { maxLength: 2 }),
    ports: fc.subarray([80, 8080], { maxLength: 1 }),
    by: fc.subarray(['cluster.local/ns/shop/sa/a', 'cluster.local/ns/shop/sa/z'], { maxLength: 1 }),
  })
  .map(({ scope, action, sourceIps, ports, by }) => {
    const match = createMatch({
      sourceIps: sourceIps.map((address) => ({ address, length: address.includes(':') ? 128 : 32 })),
      destinationPorts: ports,
      principals: by.map((value) => ({ kind: 'exact' as const, value })),
    });
    const fields: AuthorizationFields = { namespace: 'shop', name: 'near', scope: scope as 'GLOBAL' };
    return createAuthorization({
      ...fields,
      action: action as 'ALLOW',
      rules: [{ clauses: [{ matches: [match] }] }],
    });
  });

const strictName = `shop/${peerAuthenticationPolicy.strict}`;
const strict = createAuthorization({
  namespace: 'shop',
  name: peerAuthenticationPolicy.strict,
  scope: 'WORKLOAD_SELECTOR',
  action: 'DENY',
  rules: [{ clauses: [{ matches: [createMatch({ notPrincipals: [{ kind: 'presence' }] })] }] }],
});

/** `a` asks: it always has addresses to come from. */
const mesh = fc
  .tuple(
    someMesh,
    fc.option(fc.array(near, { minLength: 1, maxLength: 1 })),
    fc.subarray(['b', 'c', 'd']),
    fc.nat(4),
  )
  .map(([{ workloads, services, policies }, nearOnes, strictOnes, fifth]) => ({
    services,
    policies: [...(nearOnes ?? (fifth > 1 ? [] : policies)), strict],
    workloads: workloads.map((each) => {
      if (each.uid === 'a') {
        return createWorkload({
          ...each,
          addresses: [...each.addresses, ...ofSource],
          node: 'node-1',
          network: '',
        });
      }
      const named = strictOnes.includes(each.uid) ? [strictName] : [];
      const others = fifth > 0 ? [] : each.authorizationPolicies;
      return createWorkload({ ...each, authorizationPolicies: [...others, ...named] });
    }),
  }));

const localPath = seldom('stays' as const, pick('unknown', 'stays', 'leaves'));
const agentSays = pick(undefined, undefined, 'direct', 'direct', 'tunnel');
const source = { uid: 'a', namespace: 'shop', serviceAccount: 'a', addresses: [] };

/** As the destination's agent would judge the tunnel instead. */
function refusalByTunnel(snapshot: MeshSnapshot, endpoint: JudgedEndpoint, peerAddress: string): number {
  const { workloadUid: uid, authority, forwardedHost } = endpoint;
  const question = {
    destination: { uid, namespace: 'shop', serviceAccount: uid, addresses },
    channel: 'hbone' as const,
    peerIdentity: 'spiffe://cluster.local/ns/shop/sa/a',
    peerAddress,
    authority,
    forwardedHost,
    baggage: '',
    forwardedNetwork: '',
  };
  return judgeInbound(snapshot, question, settings).reason;
}

function sourceAddresses(snapshot: MeshSnapshot, to: string): readonly string[] {
  const own = snapshot.workloads.get('a')?.addresses ?? [];
  return own.filter((each) => each.includes(':') === to.includes(':'));
}

describe('in any mesh', () => {
  it('nothing goes direct that its destination would refuse, that has a waypoint, or that is to have a tunnel', () => {
    const seen = { direct: 0, tunnelOnNode: 0, waypoint: 0, inSpiteOfStrict: 0 };
    fc.assert(
      fc.property(mesh, destination, localPath, agentSays, (resources, [address, port], path, sameNode) => {
        const snapshot = createSnapshot(resources);
        const local = { ...everybodyHere, path: path as 'stays' };
        const own = { ...settings, sameNode: sameNode as 'tunnel' };
        const { endpoints } = judgeOutbound(snapshot, { source, address, port, local }, own);
        for (const endpoint of endpoints) {
          const workload = snapshot.workloads.get(endpoint.workloadUid);
          if (endpoint.via === 'waypoint') seen.waypoint++;
          if (endpoint.sameNode === undefined || workload === undefined) {
            seen.tunnelOnNode += endpoint.via === 'endpoint' && workload?.node === 'node-1' ? 1 : 0;
            continue;
          }
          seen.direct++;
          expect([endpoint.via, endpoint.path, path, workload.node]).toEqual([
            'endpoint',
            'tunnel',
            'stays',
            'node-1',
          ]);
          const { address: to, port: toPort, inbound } = endpoint.sameNode;
          expect(formatAuthority(to, toPort)).toBe(endpoint.authority);
          expect([inbound.upstreamAddress, inbound.upstreamPort]).toEqual([to, toPort]);
          const peers = sourceAddresses(snapshot, to);
          expect(peers).not.toEqual([]);
          for (const peer of peers) expect(refusalByTunnel(snapshot, endpoint, peer)).toBe(reasons.NONE);
          const said = sameNodeWish(workload)?.mode ?? sameNode;
          expect(said).not.toBe('tunnel');
          expect(sameNodeWish(snapshot.workloads.get('a') ?? workload)?.mode).not.toBe('tunnel');
          if (workload.authorizationPolicies.includes(strictName)) {
            expect(said).toBe('direct');
            seen.inSpiteOfStrict++;
          }
        }
      }),
      { numRuns: 10_000 },
    );
    expect(Math.min(...Object.values(seen)), JSON.stringify(seen)).toBeGreaterThan(4);
  });

  it('nothing is refused at its source by policy that any destination would let in', () => {
    let refused = 0;
    fc.assert(
      fc.property(mesh, destination, (resources, [address, port]) => {
        const snapshot = createSnapshot(resources);
        const judgement = judgeOutbound(snapshot, { source, address, port, local: everybodyHere }, settings);
        const isByPolicy = [reasons.POLICY_DENIED, reasons.POLICY_NOT_ALLOWED].some(
          (reason) => reason === judgement.reason,
        );
        expect(isByPolicy).toBe(judgement.refusing.length > 0);
        for (const { endpoint } of judgement.refusing) {
          refused++;
          for (const peer of sourceAddresses(snapshot, endpoint.address))
            expect(refusalByTunnel(snapshot, endpoint, peer)).not.toBe(reasons.NONE);
        }
      }),
      { numRuns: 6000 },
    );
    expect(refused).toBeGreaterThan(20);
  });
});
