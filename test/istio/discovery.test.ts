/** The agent's discovery client under istiod, beside Hadal's own control plane: what either says of the same objects. */
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { type IpAddress, parseAddress } from '../../src/model/address.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { createSnapshot, type MeshSnapshot } from '../../src/model/snapshot.ts';
import { evaluate } from '../../src/policy/evaluate.ts';
import type { ConnectionFacts } from '../../src/policy/match.ts';
import { collectionPath, create, eventually, type Manifest, remove } from '../kubernetes/world.ts';
import { AgentClient, type AgentClientOptions, type Named } from './agent-client.ts';
import { applyObjects, namespaces } from './objects.ts';
import { differences, ownTranslation } from './own-translation.ts';
import { agentToken, describeUnderIstiod, runPod } from './world.ts';

/** Where the two do not say the same: each with its reason, and each must still be so. */
const known: readonly (readonly [why: string, difference: RegExp])[] = [
  [
    'istiod gives workloads without labels the policies of their namespace whatever these select; Hadal only those that select them',
    /^workloads \S+(Pod\/shop\/(dual|starting)|ServiceEntry\/shop\/(dns|static)\/\S+) authorizationPolicies: \[\] \| \["shop\/catalog"\]$/,
  ],
  [
    'istiod makes an endpoint of a wildcard that only a waypoint can look up',
    /^workloads \S+ServiceEntry\/shop\/dynamic\/\*\.dynamic\.example\.com: theirs alone$/,
  ],
  [
    'istiod tells ports of every protocol, Hadal those that are carried: TCP',
    /^services shop\/udp\.shop\.svc\.cluster\.local ports: /,
  ],
  [
    'one match of two conditions, or two clauses of one each: the same, see the next test',
    /^policies guarded\/converted_peer_authentication_ports rules: /,
  ],
];

describeUnderIstiod('an agent under istiod', (world) => {
  let tokenFile = '';
  let ours: Named;
  const open: AgentClient[] = [];
  beforeAll(async () => {
    await applyObjects(world.admin);
    tokenFile = await agentToken(world, 'a');
  });
  afterEach(async () => {
    for (const client of open.splice(0)) await client.close();
  });

  async function connect(options: Partial<AgentClientOptions> = {}): Promise<AgentClient> {
    const client = new AgentClient(world, { tokenFile, node: 'a', ...options });
    open.push(client);
    await eventually(() => client.client.isComplete, 'istiod has told something of each type', 30_000);
    return client;
  }

  const patch = (object: Manifest, body: object) =>
    world.admin.request({
      method: 'PATCH',
      path: `${collectionPath(object)}/${object.metadata.name}`,
      body,
    });
  const podOf = (name: string, namespace = 'shop'): Manifest => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
  });
  const uidOf = (name: string) => `Kubernetes//Pod/shop/${name}`;

  it('is told the same mesh as by Hadal, resource by resource, but for what is listed above', async () => {
    const agent = await connect();
    ours = await ownTranslation(world.machines);
    const unexpected = () =>
      differences(ours, agent.mesh, namespaces).filter(
        (each) => !known.some(([, pattern]) => pattern.test(each)),
      );
    // istiod writes addresses of hosts into the status of entries, which takes it a moment.
    await eventually(async () => {
      ours = await ownTranslation(world.machines);
      return unexpected().length === 0;
    }, 'both say the same').catch(() => {});
    expect(unexpected()).toEqual([]);
    for (const [why, pattern] of known)
      expect(
        differences(ours, agent.mesh, namespaces).filter((each) => pattern.test(each)),
        why,
      ).not.toEqual([]);
    expect(agent.client.status.rejected).toEqual([]);
    const sizes = Object.values(agent.mesh).map(({ size }) => size);
    for (const size of sizes) expect(size).toBeGreaterThan(10);
  });

  it('judges connections as it does by Hadal’s, also where the two write a policy otherwise', async () => {
    const agent = await connect();
    const [left, right] = [snapshotOf(ours), snapshotOf(agent.mesh)];
    const front = `Kubernetes//Pod/guarded/front-9`;
    expect(connections.map((facts) => verdict(right, front, facts))).toEqual([
      ...[reasons.NONE, reasons.NONE, reasons.POLICY_DENIED],
      // The port that the PeerAuthentication excepts; what the policy of the whole mesh wants is another matter.
      ...[reasons.NONE, reasons.NONE, reasons.POLICY_NOT_ALLOWED],
    ]);
    let judged = 0;
    for (const [uid, { authorizationPolicies }] of left.workloads) {
      const theirs = right.workloads.get(uid);
      if (theirs === undefined || !isDeepStrictEqual(authorizationPolicies, theirs.authorizationPolicies))
        continue;
      for (const facts of connections)
        expect([uid, facts, verdict(left, uid, facts)]).toEqual([uid, facts, verdict(right, uid, facts)]);
      judged += 1;
    }
    expect(judged).toBeGreaterThan(10);
  });

  it('hears of what changes and of what goes', async () => {
    const agent = await connect();
    await runPod(world.admin, 'shop', 'comes', { node: 'b', ip: '10.244.1.77' });
    await eventually(() => agent.mesh.workloads.has(uidOf('comes')), 'the pod is known');
    const policy = istioPolicy('comes-too');
    await create(world.admin, policy);
    await eventually(() => agent.mesh.policies.has('shop/comes-too'), 'the policy is known');
    await remove(world.admin, podOf('comes'));
    await remove(world.admin, policy);
    await eventually(() => !agent.mesh.workloads.has(uidOf('comes')), 'the pod is gone');
    await eventually(() => !agent.mesh.policies.has('shop/comes-too'), 'the policy is gone');
  });

  it('that was away is told of what changed and went meanwhile, and of nothing else but policies', async () => {
    await runPod(world.admin, 'shop', 'goes', { node: 'b', ip: '10.244.1.78' });
    await create(world.admin, istioPolicy('goes-too'));
    const first = await connect();
    await eventually(() => first.mesh.workloads.has(uidOf('goes')), 'it is known');
    await eventually(() => first.mesh.policies.has('shop/goes-too'), 'it is known');
    const kept = first.kept();
    await first.close();
    await patch(podOf('catalog-1'), { metadata: { labels: { version: 'v2' } } });
    await remove(world.admin, podOf('goes'));
    await remove(world.admin, istioPolicy('goes-too'));
    const again = await connect({ kept });
    const told = () => again.changes.flatMap(({ workloads }) => workloads.upserts.map(({ uid }) => uid));
    await eventually(() => told().includes(uidOf('catalog-1')), 'the change is told');
    await eventually(
      () => again.changes.some(({ workloads }) => workloads.removals.includes(uidOf('goes'))),
      'that the pod is gone is told',
    );
    expect(again.changes.some(({ policies }) => policies.removals.includes('shop/goes-too'))).toBe(true);
    expect(told()).toEqual([uidOf('catalog-1')]);
    expect(again.changes.flatMap(({ services }) => services.upserts)).toEqual([]);
    // istiod gives policies no versions, so it cannot know which ones an agent has.
    expect(again.changes.flatMap(({ policies }) => policies.upserts).length).toBeGreaterThan(5);
  });

  it('that does not understand a resource refuses it alone, keeps the stream, and takes the next version', async () => {
    const refused = uidOf('catalog-2');
    let isRefused = true;
    const agent = await connect({
      refuse: ({ name }) => (isRefused && name === refused ? 'field colour: is not understood' : undefined),
    });
    expect(agent.client.status.rejected).toMatchObject([{ name: refused, reason: /colour/ }]);
    expect(agent.mesh.workloads.has(uidOf('catalog-1'))).toBe(true);
    expect(agent.mesh.workloads.has(refused)).toBe(false);
    await eventually(
      () => readFileSync(world.istiod.log, 'utf8').includes('ACK ERROR'),
      'istiod tells of it',
    );
    isRefused = false;
    await patch(podOf('catalog-2'), { metadata: { labels: { version: 'v3' } } });
    await eventually(() => agent.mesh.workloads.has(refused), 'the next version is in force');
    expect(agent.client.status).toMatchObject({ rejected: [], state: 'streaming' });
    expect(agent.client.counters.terminations.size).toBe(0);
  });

  it('that asks one by one learns what it asks for, what belongs to it, and what is not there', async () => {
    const agent = await connect({ onDemand: true });
    // Pods of the agent's own node come unasked.
    const nodes = [...agent.mesh.workloads.values()].map((workload) => (workload as { node: string }).node);
    expect([new Set(nodes), agent.mesh.services.size]).toEqual([new Set(['a']), 0]);
    expect(agent.mesh.policies.size).toBeGreaterThan(5);

    agent.client.lookUp(['/10.244.1.1']);
    await eventually(
      () => agent.mesh.workloads.has(uidOf('catalog-1')),
      'the workload at an address is known',
    );

    const { spec } = await world.admin.request<{ spec: { clusterIP: string } }>({
      path: '/api/v1/namespaces/shop/services/front',
    });
    agent.client.lookUp([`/${spec.clusterIP}`]);
    await eventually(
      () => agent.mesh.services.has('shop/front.shop.svc.cluster.local'),
      'the service is known',
    );
    await eventually(() => agent.mesh.workloads.has(uidOf('front-1')), 'its endpoints are known');

    agent.client.lookUp(['/10.244.1.99']);
    await eventually(() => agent.absent.includes('/10.244.1.99'), 'that nothing is there is known');
    await runPod(world.admin, 'shop', 'asked-for', { node: 'b', ip: '10.244.1.99' });
    // Where Hadal tells it unasked, istiod wants to be asked again: agents do so with the next connection.
    await eventually(() => {
      agent.client.lookAway(['/10.244.1.99']);
      agent.client.lookUp(['/10.244.1.99']);
      return agent.mesh.workloads.has(uidOf('asked-for'));
    }, 'what came to be there is told');
    await runPod(world.admin, 'shop', 'not-asked-for', { node: 'b', ip: '10.244.1.98' });
    await patch(podOf('asked-for'), { metadata: { labels: { version: 'v2' } } });
    await eventually(
      () =>
        (agent.mesh.workloads.get(uidOf('asked-for')) as { canonicalRevision: string }).canonicalRevision ===
        'v2',
      'its changes are told',
    );
    expect(agent.mesh.workloads.has(uidOf('not-asked-for'))).toBe(false);
    for (const name of ['asked-for', 'not-asked-for']) await remove(world.admin, podOf(name));
    await eventually(() => !agent.mesh.workloads.has(uidOf('asked-for')), 'that it is gone is told');
  });

  it('goes on where it was when istiod comes back', async () => {
    const agent = await connect();
    const before = agent.changes.length;
    await world.istiod.kill();
    await eventually(() => agent.client.status.state !== 'streaming', 'the stream has ended');
    expect(agent.mesh.workloads.size).toBeGreaterThan(15);
    await world.istiod.start();
    await eventually(() => agent.client.status.state === 'streaming', 'there is another', 30_000);
    await runPod(world.admin, 'shop', 'after', { node: 'b', ip: '10.244.1.79' });
    await eventually(() => agent.mesh.workloads.has(uidOf('after')), 'what is new is told', 30_000);
    const told = agent.changes
      .slice(before)
      .flatMap(({ workloads }) => workloads.upserts.map(({ uid }) => uid));
    expect(new Set(told)).toEqual(new Set([uidOf('after')]));
    await remove(world.admin, podOf('after'));
  });
});

/** To two ports, from two accounts and from nobody. */
const connections: readonly ConnectionFacts[] = [8080, 9000].flatMap((destinationPort) =>
  ['front', 'back', undefined].map((serviceAccount) => ({
    identity: serviceAccount && { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount },
    sourceAddress: parseAddress('10.244.0.1') as IpAddress,
    destinationAddress: parseAddress('10.244.1.9') as IpAddress,
    destinationPort,
  })),
) as ConnectionFacts[];

function snapshotOf({ workloads, services, policies }: Named): MeshSnapshot {
  const resources = { workloads, services, policies } as unknown as Record<string, Map<string, never>>;
  const of = (kind: string) => [...(resources[kind]?.values() ?? [])];
  return createSnapshot({ workloads: of('workloads'), services: of('services'), policies: of('policies') });
}

function verdict(mesh: MeshSnapshot, uid: string, facts: ConnectionFacts): number {
  const workload = mesh.workloads.get(uid);
  if (workload === undefined) throw new Error(`there is no workload ${uid}`);
  return evaluate(mesh, workload, facts).reason;
}

const istioPolicy = (name: string): Manifest => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name, namespace: 'shop' },
  spec: { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['nowhere'] } }] }] },
});
