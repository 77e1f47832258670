import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { CollectedFlows } from '../helpers/collected-flows.ts';
import { directEdges, directSlot, endedAll, leadDirectly } from '../helpers/direct-rows.ts';
import { ip, podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a connection to a pod of the same node', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let other: EnrolledPod;
  let listeners: { stop: () => Promise<void> };
  let flows: CollectedFlows;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client', { listeners: false });
    listeners = await world.startListeners(client);
    server = await world.addEnrolledPod('server');
    other = await world.addEnrolledPod('other');
    await world.serve(server, { ports: [8080], who: 'server' });
    await world.serve(other, { ports: [8080], who: 'other' });
    flows = new CollectedFlows(world);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    world.capture.dns.beat();
    flows.clear();
  });
  afterEach(() => endedAll(world, client, [client, server, other]));

  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4, service: '10.96.0.10', as: '10.96.0.10' },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6, service: 'fd96::10', as: 'fd96::10' },
    {
      family: 'IPv4 mapped into IPv6',
      of: (pod: WorldPod) => pod.ipv4,
      service: '10.96.0.10',
      as: '::ffff:10.96.0.10',
    },
  ];

  describe.each(families)('over $family', ({ of, service, as }) => {
    const direct = (port = 8080) =>
      leadDirectly(world, client, service, directSlot(server, of(server), port));

    it('reaches its application, which sees the client, and shows the service', async () => {
      direct();
      const before = [world.countOf(client, reasons.DIRECT), world.countOf(server, reasons.AUTHORIZED)];
      for (const nonBlocking of [false, true]) {
        const result = await world.dial(client, { to: [as, 80], nonBlocking });
        expect(result).toMatchObject({
          connected: true,
          mark: 0,
          local: { address: of(client) },
          remote: { address: service, port: 80 },
          answer: {
            who: 'server',
            mark: 0,
            local: { address: of(server), port: 8080 },
            remote: { address: of(client), port: result.local?.port },
          },
        });
      }
      const after = [world.countOf(client, reasons.DIRECT), world.countOf(server, reasons.AUTHORIZED)];
      expect(after).toEqual(before.map((count) => count + 2));
    });

    it('is spread by weight, and the agent has its share', async () => {
      const [one, two] = [directSlot(server, of(server)), directSlot(other, of(other))];
      leadDirectly(world, client, service, one, two, two, { kind: 'tunnel' });
      const results = await world.dialAll(client, { to: [as, 80], repeat: 400 });
      const share = (who: RegExp) => results.filter(({ answer }) => who.test(answer?.who ?? '')).length;
      // Each bound is five standard deviations away.
      for (const [who, mean] of [
        [/server/, 100],
        [/other/, 200],
        [/outbound/, 100],
      ] as const) {
        expect(Math.abs(share(who) - mean)).toBeLessThan(50);
      }
      expect(share(/server|other|outbound/)).toBe(400);
    });

    it('is told by both ends, with exact bytes, while it lives and when it ends', async () => {
      direct();
      const held = await world.dialAndHold(client, { to: [as, 80] });
      const pair = {
        path: 'node_local',
        sourceAddress: of(client),
        sourcePort: held.result.local?.port,
        endpointAddress: of(server),
        endpointPort: 8080,
      };
      const outbound = {
        ...pair,
        direction: 'outbound',
        reason: reasons.DIRECT,
        edge: directEdges.outbound,
        podIndex: client.podIndex,
        peerPodIndex: server.podIndex,
        destinationAddress: service,
        destinationPort: 80,
      };
      const inbound = {
        ...pair,
        direction: 'inbound',
        reason: reasons.AUTHORIZED,
        edge: directEdges.inbound,
        podIndex: server.podIndex,
        peerPodIndex: client.podIndex,
        destinationAddress: of(server),
        destinationPort: 8080,
      };
      expect(flows.liveOf(client)).toEqual([expect.objectContaining({ kind: 'live', ...outbound })]);
      expect(flows.liveOf(server)).toEqual([expect.objectContaining({ kind: 'live', ...inbound })]);
      await held.check();
      const told = () => flows.ended.filter(({ sourcePort }) => sourcePort === pair.sourcePort);
      await expect.poll(() => told().length).toBe(2);
      const bytes = { kind: 'closed', bytesSent: 1, bytesReceived: (held.result.greetingBytes ?? 0) + 1 };
      expect(told().find(({ direction }) => direction === 'outbound')).toMatchObject({
        ...outbound,
        ...bytes,
      });
      expect(told().find(({ direction }) => direction === 'inbound')).toMatchObject({ ...inbound, ...bytes });
      const counts = world.capture.readCounters().untouched;
      for (const [podIndex, edge] of [
        [client.podIndex, directEdges.outbound],
        [server.podIndex, directEdges.inbound],
      ]) {
        const found = counts.find((count) => count.podIndex === podIndex && count.edge === edge);
        expect(found?.opened).toBeGreaterThan(0);
        expect(found?.opened).toBe(found?.closed);
      }
    });

    it('is nobody’s business any more when it has failed, was reset, or ended in TIME_WAIT', async () => {
      direct(9);
      expect(await world.dial(client, { to: [as, 80] })).toMatchObject({ error: 'ECONNREFUSED' });
      await expect.poll(() => flows.ended.some(({ kind }) => kind === 'refused')).toBe(true);
      expect(flows.ended.find(({ kind }) => kind === 'refused')).toMatchObject({
        path: 'node_local',
        bytesSent: 0,
      });
      direct();
      await world.dialAll(client, { to: [as, 80], repeat: 200 });
      await world.dialAll(client, { to: [as, 80], repeat: 200, reset: true });
      await world.dialAll(client, { to: [as, 80], repeat: 50, bytes: 10_000 });
      expect(world.countOf(client, reasons.DESTINATION_NOT_SEEN)).toBe(0);
    });

    it('can be tried again by a socket that has failed, or was dissolved, either way', async () => {
      const [refusing, captured] = [2, 3].map((last) => as.replace(/0$/, String(last))) as [string, string];
      direct();
      leadDirectly(world, client, refusing.replace('::ffff:', ''), directSlot(server, of(server), 9));
      const remote = { address: service, port: 80 };
      for (const again of [true, false]) {
        const result = await world.dial(client, { first: [refusing, 80], to: [as, 80], again });
        expect(result).toMatchObject({ firstError: 'ECONNREFUSED', remote, answer: { who: 'server' } });
      }
      const dissolved = await world.dial(client, { first: [as, 80], to: [as, 80] });
      expect(dissolved).toMatchObject({ remote, answer: { who: 'server' } });
      expect(dissolved.firstError).toBeUndefined();
      // From the agent to the pod, and back.
      expect(await world.dial(client, { first: [captured, 80], to: [as, 80] })).toMatchObject({
        mark: 0,
        remote,
        answer: { who: 'server' },
      });
      const toAgent = {
        remote: { address: captured.replace('::ffff:', ''), port: 80 },
        answer: { who: expect.stringMatching(/^outbound/) },
      };
      expect(await world.dial(client, { first: [as, 80], to: [captured, 80] })).toMatchObject(toAgent);
      // The first has not even sent a SYN.
      const nowhere = of(server).replace(/2$/, '99');
      ip('-n', client.netns, 'route', 'add', 'unreachable', nowhere);
      leadDirectly(world, client, service, directSlot(server, nowhere));
      const held = await world.dialAndHold(client, { first: [as, 80], to: [captured, 80] });
      ip('-n', client.netns, 'route', 'del', 'unreachable', nowhere);
      expect(held.result).toMatchObject({ firstError: expect.stringMatching(/UNREACH/), ...toAgent });
      expect(world.capture.maps.authorized.keys()).toEqual([]);
      expect(flows.liveOf(client)).toEqual([]);
      await held.check();
    });

    it('is refused by nobody while its row is switched from one set of endpoints to another', async () => {
      direct();
      const dialling = world.dialAll(client, { to: [as, 80], repeat: 400 });
      let done = false;
      const results = dialling.finally(() => {
        done = true;
      });
      for (let turn = 0; !done; turn++) {
        leadDirectly(
          world,
          client,
          service,
          directSlot(turn % 2 ? server : other, of(turn % 2 ? server : other)),
        );
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect((await results).filter(({ answer }) => answer === undefined)).toEqual([]);
      expect(world.capture.maps.map('direct_targets').keys()).toHaveLength(1);
    });
  });

  it('from a pod whose rows do not say so goes to the agent', async () => {
    leadDirectly(world, client, '10.96.0.10', directSlot(server, server.ipv4));
    expect((await world.dial(other, { to: ['10.96.0.10', 80] })).answer?.who).toMatch(/^outbound/);
  });

  it('loses nothing when the agent is killed and another comes, which tells it and lets new ones go', async () => {
    leadDirectly(world, client, '10.96.0.10', directSlot(server, server.ipv4));
    const held = await world.dialAndHold(client, { to: ['10.96.0.10', 80] });
    const bytes = 300_000_000;
    const streaming = world.dial(client, { to: ['10.96.0.10', 80], bytes, timeout: 60 });
    await expect.poll(() => flows.liveOf(client).length).toBe(2);
    await listeners.stop();
    flows.close();
    for (const { capture } of [client, server, other]) capture.close();
    world.capture.close();
    // Nobody is there: rows and programs are.
    const during = await world.dial(client, { to: ['10.96.0.10', 80] });
    world.capture = world.startCapture();
    [client, server, other] = [client, server, other].map((pod) => world.attach(pod, pod.podIndex)) as [
      EnrolledPod,
      EnrolledPod,
      EnrolledPod,
    ];
    flows.reopen();
    const told = flows.liveOf(client);
    expect(await streaming).toMatchObject({ received: bytes });
    expect(during.answer?.who).toBe('server');
    expect(told).toContainEqual(
      expect.objectContaining({
        path: 'node_local',
        sourcePort: held.result.local?.port,
        destinationAddress: '10.96.0.10',
        peerPodIndex: server.podIndex,
      }),
    );
    expect(await held.check()).toEqual({ alive: true });
    expect((await world.dial(client, { to: ['10.96.0.10', 80] })).answer?.who).toBe('server');
    listeners = await world.startListeners(client);
  });
});
