import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { forgetAuthorized } from '../../src/kernel/authorized-tuples.ts';
import { packagedObjects } from '../../src/kernel/capture.ts';
import { FLOW_INBOUND, FLOW_OUTBOUND } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { CollectedFlows } from '../helpers/collected-flows.ts';
import {
  directEdges,
  directSlot,
  endedAll,
  leadDirectly,
  notYetOpen,
  trackedOf,
} from '../helpers/direct-rows.ts';
import { podWorldUnavailable, type SocketHand } from '../helpers/pod-world.ts';

const service = '10.96.0.10';

/** Its client's socket counts and reports for both: an entry of `authorized` and a flag say what it is. */
describe.skipIf(podWorldUnavailable !== undefined)('the destination’s end of a direct connection', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let hands: { readonly client: SocketHand; readonly server: SocketHand };
  let flows: CollectedFlows;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
    server = await world.addEnrolledPod('server');
    hands = { client: world.hand(client), server: world.hand(server) };
    await hands.server.do('listen', { name: 'listener', at: [server.ipv4, 8080] });
    flows = new CollectedFlows(world);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    world.capture.dns.beat();
    flows.flush();
    flows.clear();
    leadDirectly(world, client, service, directSlot(server, server.ipv4));
  });
  afterEach(() => endedAll(world, client, [client, server]));

  const counted = (pod: EnrolledPod, edge: number, direction: number) =>
    world.capture
      .readCounters()
      .untouched.find(
        (count) => count.podIndex === pod.podIndex && count.edge === edge && count.direction === direction,
      );
  const seenAs = () => world.capture.sockets.list(server.netnsFd).map((socket) => socket.seenAs);
  const connect = async (name: string): Promise<void> => {
    expect(await hands.client.do('connect', { name, to: [service, 80] })).toMatchObject({ ok: true });
    expect(await hands.server.do('accept', { name, of: 'listener' })).toMatchObject({ ok: true });
  };
  const close = async (name: string): Promise<void> => {
    await hands.client.do('close', { name });
    await hands.server.do('close', { name });
  };

  it('takes no place among the connections that its pod may have, and is known for what it is', async () => {
    await connect('one');
    expect([trackedOf(world, client), trackedOf(world, server)]).toEqual([1, 0]);
    expect(seenAs()).toEqual(['direct']);
    await close('one');
  });

  it('is counted byte by byte like its client’s, while it lives and when it has ended', async () => {
    const both = () => [
      counted(client, directEdges.outbound, FLOW_OUTBOUND),
      counted(server, directEdges.inbound, FLOW_INBOUND),
    ];
    const before = both();
    await connect('one');
    await hands.client.do('stream', { name: 'one', total: 70_001, largest: 5_000 });
    await hands.server.do('drain', { name: 'one', total: 70_001, largest: 5_000 });
    await sleep(200);
    const [outbound] = flows.liveOf(client);
    const [inbound] = flows.liveOf(server);
    for (const [end, now] of both().entries())
      expect(Number(now?.bytesSent) - Number(before[end]?.bytesSent ?? 0)).toBe(70_001);
    expect(inbound).toMatchObject({ bytesSent: 70_001, bytesReceived: 0, edge: directEdges.inbound });
    expect(inbound?.openedUnixMicroseconds).toBeCloseTo(outbound?.openedUnixMicroseconds ?? 0, -5);
    await hands.server.do('stream', { name: 'one', total: 30_002, largest: 5_000 });
    await hands.client.do('drain', { name: 'one', total: 30_002, largest: 5_000 });
    await close('one');
    await expect.poll(() => flows.ended.length).toBe(2);
    await sleep(50);
    expect(flows.ended).toHaveLength(2);
    for (const flow of flows.ended) expect(flow).toMatchObject({ bytesSent: 70_001, bytesReceived: 30_002 });
    // As it was known while it lived.
    expect(flows.ended.map(({ flowId }) => flowId).sort()).toEqual(
      [outbound?.flowId, inbound?.flowId].sort(),
    );
    both().forEach((after, end) => {
      const added = (field: 'opened' | 'closed' | 'failed' | 'bytesSent' | 'bytesReceived') =>
        Number(after?.[field] ?? 0) - Number(before[end]?.[field] ?? 0);
      expect([added('opened'), added('closed'), added('failed')]).toEqual([1, 1, 0]);
      expect([added('bytesSent'), added('bytesReceived')]).toEqual([70_001, 30_002]);
    });
  });

  it('is told when its source is forgotten, so that it can still be ended, and why', async () => {
    await connect('one');
    const before = counted(server, directEdges.inbound, FLOW_INBOUND);
    forgetAuthorized(world.capture.maps.authorized, () => 'source');
    const [told] = flows.liveOf(server);
    expect(told).toMatchObject({
      path: 'node_local',
      direction: 'inbound',
      reason: reasons.AUTHORIZED,
      podIndex: server.podIndex,
      peerPodIndex: 0,
    });
    expect(seenAs()).toEqual(['direct']);
    expect(flows.liveOf(client)).toHaveLength(1);
    expect(world.capture.sockets.destroy(server.netnsFd, [told?.cookie ?? 0n], reasons.POLICY_DENIED)).toBe(
      1,
    );
    expect(await hands.client.do('receive', { name: 'one', bytes: 1 })).toMatchObject({
      error: 'ECONNRESET',
    });
    await close('one');
    const isTold = world.capture.sockets.destroysBy === 'bpf_sock_destroy';
    await expect
      .poll(() => flows.ended.map(({ direction }) => direction).sort())
      .toEqual(['inbound', 'outbound']);
    if (isTold)
      expect(flows.ended.map(({ reason }) => reason)).toEqual([reasons.POLICY_DENIED, reasons.POLICY_DENIED]);
    const after = counted(server, directEdges.inbound, FLOW_INBOUND);
    expect(Number(after?.closed ?? 0)).toBe(Number(before?.closed ?? 0) + 1);
  });

  it('is not counted any more for a destination that has left, whose counters nobody would take out', async () => {
    await connect('one');
    const before = counted(server, directEdges.inbound, FLOW_INBOUND);
    forgetAuthorized(world.capture.maps.authorized, () => 'destination');
    await hands.client.do('stream', { name: 'one', total: 500, largest: 100 });
    expect(flows.liveOf(client)).toHaveLength(1);
    await close('one');
    await expect
      .poll(() => flows.ended.map(({ direction }) => direction).sort())
      .toEqual(['inbound', 'outbound']);
    expect(counted(server, directEdges.inbound, FLOW_INBOUND)).toEqual(before);
  });

  it('is told of once: what its process has not read when its client is gone is nobody’s business any more', async () => {
    await connect('one');
    await hands.client.do('stream', { name: 'one', total: 5_000, largest: 1_000 });
    await hands.client.do('close', { name: 'one' });
    await expect.poll(() => flows.ended.length).toBe(2);
    expect(flows.ended.find(({ direction }) => direction === 'inbound')).toMatchObject({ bytesSent: 5_000 });
    expect(flows.liveOf(server)).toEqual([]);
    // Nor when its client's next connection has the same ports.
    const { authorized } = world.capture.maps;
    const tuple = {
      client: client.ipv4,
      clientPort: flows.ended[0]?.sourcePort ?? 0,
      server: server.ipv4,
      serverPort: 8080,
    };
    const ends = { sourcePodIndex: client.podIndex, destinationPodIndex: server.podIndex };
    authorized.set(tuple, { ...ends, inboundEdge: directEdges.inbound, ...notYetOpen });
    expect(flows.liveOf(server)).toEqual([]);
    authorized.delete(tuple);
    // Not older than the enrolment, which a policy might end.
    expect(seenAs()).toEqual(['direct']);
    expect(await hands.server.do('drain', { name: 'one', total: 5_000, largest: 999 })).toMatchObject({
      bytes: 5_000,
      exact: true,
    });
    await hands.server.do('close', { name: 'one' });
    flows.flush();
    expect(flows.ended).toHaveLength(2);
  });

  it('is not what another program’s flags make of a socket', async () => {
    const loud = nativeAddon().openObject(join(packagedObjects, 'test/loud_sockops.bpf.o'));
    loud.load();
    const stranger = world.hand(server);
    await stranger.do('connect', { name: 'older', to: [server.ipv4, 8080] });
    await hands.server.do('accept', { name: 'older', of: 'listener' });
    // After the capture's, in the same cgroup: it runs after that.
    const link = loud.program('set_all_flags').attachCgroup(world.cgroup);
    await stranger.do('connect', { name: 'own', to: [server.ipv4, 8080] });
    await hands.server.do('accept', { name: 'own', of: 'listener' });
    await connect('one');
    expect(seenAs().sort()).toEqual(['direct', 'older', 'older', 'older', 'older']);
    expect(flows.liveOf(server)).toHaveLength(1);
    expect(flows.liveOf(client)).toEqual([expect.objectContaining({ direction: 'outbound' })]);
    link.close();
    loud.close();
    await close('one');
    await stranger.stop();
    for (const name of ['older', 'own']) await hands.server.do('close', { name });
  });

  it('is none any more when it is dissolved, whatever its socket does next', async () => {
    await connect('one');
    await hands.server.do('reconnect', { name: 'one', to: [server.ipv4, 8080] });
    await hands.server.do('accept', { name: 'itself', of: 'listener' });
    expect(seenAs()).toEqual(['older', 'older']);
    await hands.server.do('shutdown', { name: 'itself' });
    expect(seenAs()).toEqual(['older', 'older']);
    await close('one');
    await hands.server.do('close', { name: 'itself' });
    await connect('two');
    expect(await hands.server.do('relisten', { name: 'two', at: [server.ipv4, 8090] })).toMatchObject({
      ok: true,
    });
    await hands.server.do('connect', { name: 'caller', to: [server.ipv4, 8090] });
    await hands.server.do('accept', { name: 'called', of: 'two' });
    await hands.server.do('shutdown', { name: 'caller' });
    expect(seenAs()).toEqual(['older', 'older']);
    for (const name of ['two', 'caller', 'called']) await hands.server.do('close', { name });
    await hands.client.do('close', { name: 'two' });
  });
});
