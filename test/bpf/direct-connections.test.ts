import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DirectConnections } from '../../src/agent/direct-connections.ts';
import { VERDICT_DIRECT } from '../../src/kernel/constants.gen.ts';
import type { FlowReader } from '../../src/kernel/flows.ts';
import { dependency } from '../../src/model/diff.ts';
import type { UntouchedFlow } from '../../src/model/flow.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { emptySnapshot } from '../../src/model/snapshot.ts';
import type { OpenDirectQuestion } from '../../src/routing/open-direct.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const service = '10.96.0.10';

describe.skipIf(podWorldUnavailable !== undefined)('open direct connections', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let friend: EnrolledPod;
  let server: EnrolledPod;
  let reader: FlowReader;
  let reviewed: DirectConnections;
  const ended: UntouchedFlow[] = [];
  const destroyed = new Map<number, number>();
  const asked: OpenDirectQuestion[] = [];
  let judge: (question: OpenDirectQuestion) => number;
  /** Pods that are none of the mesh's any more. */
  const left = new Set<string>();

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
    friend = await world.addEnrolledPod('friend');
    server = await world.addEnrolledPod('server');
    await world.serve(server, { ports: [8080, 8081] });
    for (const { podIndex } of [client, friend]) {
      for (const port of [8080, 8081]) {
        const { netnsCookie, ipv4: address } = server;
        const slot = {
          kind: 'direct',
          address,
          port,
          podIndex: server.podIndex,
          netnsCookie,
          edge: 1,
          inboundEdge: 2,
        } as const;
        world.capture.putRows([
          [
            { podIndex, address: service, port },
            { verdict: VERDICT_DIRECT, edge: 3, slots: [slot] },
          ],
        ]);
      }
    }
    reader = world.capture.openFlows({
      onClosed: (records) => {
        for (let at = 0; at < records.byteLength / reader.recordBytes; at++)
          ended.push(reader.decode(records, at));
      },
      onSlipped: () => {},
    });
    const pods = [client, friend, server].map(({ podIndex, netnsFd, ipv4, name }) => ({
      podIndex,
      netnsFd,
      state: 'carried' as const,
      identity: `spiffe://cluster.local/ns/shop/sa/${name}`,
      enrolled: { uid: `c//Pod/shop/${name}`, namespace: 'shop', serviceAccount: name, addresses: [ipv4] },
    }));
    reviewed = new DirectConnections({
      reader,
      sockets: world.capture.sockets,
      pods: {
        all: () => pods.filter(({ enrolled }) => !left.has(enrolled.uid)),
        at: (podIndex) => pods.find((pod) => pod.podIndex === podIndex && !left.has(pod.enrolled.uid)),
      },
      snapshot: () => emptySnapshot,
      judge: (question) => {
        asked.push(question);
        return judge(question);
      },
      onDestroyed: (reason, count) => destroyed.set(reason, (destroyed.get(reason) ?? 0) + count),
      logger: pino({ enabled: false }),
    });
  });
  afterAll(async () => {
    await reviewed?.close();
    reader?.close();
    await world?.dispose();
  });
  beforeEach(() => {
    world.capture.dns.beat();
    destroyed.clear();
    asked.length = 0;
    ended.length = 0;
  });

  const hold = (from: EnrolledPod, port = 8080) => world.dialAndHold(from, { to: [service, port] });
  const change = async (...keys: string[]) => {
    asked.length = 0;
    reviewed.review(keys);
    await reviewed.settled();
  };
  const isClient = ({ source }: OpenDirectQuestion) => source?.identity.endsWith('/client') === true;

  it('that a policy refuses now are ended at their destination, so that the client sees a reset; others go on', async () => {
    const denied = [await hold(client), await hold(client, 8081)];
    const other = await hold(friend);
    judge = (question) => (isClient(question) ? reasons.POLICY_DENIED : reasons.NONE);
    await change(dependency.global);
    expect(destroyed).toEqual(new Map([[reasons.POLICY_DENIED, 2]]));
    for (const each of denied) expect(await each.check()).toEqual({ alive: false, error: 'ECONNRESET' });
    expect(await other.check()).toEqual({ alive: true });
    expect(asked).toContainEqual({
      source: {
        pod: expect.objectContaining({ uid: 'c//Pod/shop/client' }),
        identity: 'spiffe://cluster.local/ns/shop/sa/client',
      },
      destination: expect.objectContaining({ uid: 'c//Pod/shop/server' }),
      peerAddress: client.ipv4,
      address: server.ipv4,
      port: 8081,
    });
    reader.flush();
    const told = ended.filter(({ direction, path }) => direction === 'inbound' && path === 'node_local');
    const byReason = (wanted: number) => told.filter(({ reason }) => reason === wanted);
    // Only bpf_sock_destroy (6.5) leaves word of why.
    const isTold = world.capture.sockets.destroysBy === 'bpf_sock_destroy';
    expect(
      byReason(isTold ? reasons.POLICY_DENIED : reasons.AUTHORIZED)
        .map(({ endpointPort }) => endpointPort)
        .sort(),
    ).toEqual(isTold ? [8080, 8081] : expect.arrayContaining([8080, 8081]));
    // That of the friend, perhaps.
    expect(world.capture.maps.map('authorized').keys().length).toBeLessThan(2);
  });

  it('are judged when what they rest on changes, at whichever end, and not for any other change', async () => {
    const open = await hold(client);
    judge = () => reasons.NONE;
    await change(dependency.workload('c//Pod/shop/else'), dependency.namespace('elsewhere'));
    expect(asked).toEqual([]);
    await change(dependency.workload('c//Pod/shop/client'));
    expect(new Set(asked.map(({ port }) => port))).toEqual(new Set([8080]));
    judge = () => reasons.TUNNEL_REQUIRED;
    await change(dependency.workload('c//Pod/shop/client'));
    expect(destroyed.get(reasons.TUNNEL_REQUIRED)).toBeGreaterThan(0);
    expect(await open.check()).toEqual({ alive: false, error: 'ECONNRESET' });
  });

  it('of a pod that left the mesh are judged as those of anybody', async () => {
    const open = await hold(client);
    const uid = 'c//Pod/shop/client';
    left.add(uid);
    judge = ({ source }) => (source === undefined ? reasons.POLICY_DENIED : reasons.NONE);
    await change(dependency.workload('c//Pod/shop/server'));
    left.delete(uid);
    expect(asked).toContainEqual(expect.not.objectContaining({ source: expect.anything() }));
    expect(await open.check()).toEqual({ alive: false, error: 'ECONNRESET' });
  });

  it('survive what says only that no new connection can be made', async () => {
    const open = await hold(client);
    judge = () => reasons.UNKNOWN_POLICY;
    await change(dependency.global);
    expect(await open.check()).toEqual({ alive: true });
    expect(destroyed.has(reasons.UNKNOWN_POLICY)).toBe(false);
  });
});
