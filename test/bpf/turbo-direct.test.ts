import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { VERDICT_DIRECT } from '../../src/kernel/constants.gen.ts';
import { writeTurboSwitch } from '../../src/kernel/turbo.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { CollectedFlows } from '../helpers/collected-flows.ts';
import type { SocketHand, WorldPod } from '../helpers/pod-world.ts';
import { must, turboUnavailable } from '../helpers/turbo-world.ts';
import { hadal } from '../unit/cli/terminal.ts';

const service = '10.96.0.10';

describe.skipIf(turboUnavailable !== undefined)('turbo on direct connections', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let outside: WorldPod;
  let hands: { client: SocketHand; server: SocketHand; outside: SocketHand };
  let flows: CollectedFlows;
  let serial = 0;

  beforeAll(async () => {
    world = await CaptureWorld.create({ turbo: true });
    client = await world.addEnrolledPod('client');
    server = await world.addEnrolledPod('server');
    outside = world.addPod('outside');
    hands = { client: world.hand(client), server: world.hand(server), outside: world.hand(outside) };
    flows = new CollectedFlows(world);
    for (const [index, port] of [7000].entries()) {
      await must(hands.server.do('listen', { name: `l${index}`, at: [server.ipv4, port] }));
      await must(hands.outside.do('listen', { name: `l${index}`, at: [outside.ipv4, port] }));
    }
    world.capture.putRows([
      [
        { podIndex: client.podIndex, address: service, port: 80 },
        {
          verdict: VERDICT_DIRECT,
          edge: 61,
          slots: [
            {
              kind: 'direct',
              address: server.ipv4,
              port: 7000,
              podIndex: server.podIndex,
              netnsCookie: server.netnsCookie,
              edge: 61,
              inboundEdge: 62,
            },
          ],
        },
      ],
    ]);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    world.capture.dns.beat();
    flows.clear();
    for (const { podIndex } of [client, server]) world.capture.turbo.admit(podIndex);
  });
  afterEach(() => {
    writeTurboSwitch(world.capture.maps.map('turbo_switch'), 'on');
  });

  const connect = async (to: readonly [string, number] = [service, 80], at: SocketHand = hands.server) => {
    const name = `c${++serial}`;
    const accepted = at.do('accept', { name, of: 'l0' });
    await must(hands.client.do('connect', { name, to }));
    await must(accepted);
    return name;
  };
  const pass = async (from: SocketHand, to: SocketHand, name: string, bytes: number) => {
    await must(from.do('send', { name, bytes }));
    expect(await to.do('drain', { name, total: bytes, largest: bytes })).toEqual({
      ok: true,
      bytes,
      exact: true,
    });
  };
  /** How many of ten exchanges of 300 bytes went past TCP. */
  const redirectedOf = async (name: string, at: SocketHand = hands.server) => {
    const before = world.capture.turbo.readCounts().redirected;
    for (let round = 0; round < 5; round++) {
      await pass(hands.client, at, name, 300);
      await pass(at, hands.client, name, 300);
    }
    return world.capture.turbo.readCounts().redirected - before;
  };
  const close = async (name: string) => {
    await must(hands.client.do('close', { name }));
    await must(hands.server.do('close', { name }));
  };

  it('counts every byte on both ends, while they live and when they have ended', async () => {
    const before = world.capture.readCounters().untouched;
    const sumOf = (
      edge: number,
      column: 'bytesSent' | 'bytesReceived',
      counts = world.capture.readCounters().untouched,
    ) => counts.filter((count) => count.edge === edge).reduce((sum, count) => sum + count[column], 0);
    const name = await connect();
    expect(await redirectedOf(name)).toBeGreaterThanOrEqual(6);
    await pass(hands.client, hands.server, name, 100_000);
    const live = [client, server].flatMap((pod) => flows.liveOf(pod));
    const carried = { bytesSent: 101_500, bytesReceived: 1_500 };
    for (const flow of live) expect(flow).toMatchObject({ kind: 'live', ...carried });
    expect(live.map(({ direction }) => direction)).toEqual(['outbound', 'inbound']);
    await close(name);
    await expect.poll(() => flows.ended.length).toBe(2);
    for (const flow of flows.ended) expect(flow).toMatchObject({ kind: 'closed', ...carried });
    for (const edge of [61, 62]) {
      expect(sumOf(edge, 'bytesSent') - sumOf(edge, 'bytesSent', before)).toBe(101_500);
      expect(sumOf(edge, 'bytesReceived') - sumOf(edge, 'bytesReceived', before)).toBe(1_500);
    }
  });

  it('is only between two pods that both ask for it', async () => {
    for (const { podIndex } of [client, server]) {
      world.capture.turbo.dismiss(podIndex);
      const before = world.capture.turbo.readCounts().joined;
      const name = await connect();
      expect(await redirectedOf(name)).toBe(0);
      expect(world.capture.turbo.readCounts().joined).toBe(before);
      world.capture.turbo.admit(podIndex);
      await close(name);
    }
  });

  it('leaves other connections of such a pod alone', async () => {
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    const before = world.capture.turbo.readCounts().joined;
    const name = await connect([outside.ipv4, 7000], hands.outside);
    expect(await redirectedOf(name, hands.outside)).toBe(0);
    expect(world.capture.turbo.readCounts().joined).toBe(before);
    await must(hands.client.do('close', { name }));
    await must(hands.outside.do('close', { name }));
  });

  it('stops for open connections when a pod does not ask any more', async () => {
    const name = await connect();
    expect(await redirectedOf(name)).toBeGreaterThan(0);
    world.capture.turbo.dismiss(server.podIndex);
    expect(await redirectedOf(name)).toBe(0);
    await close(name);
  });

  it('is turned off by hand at once, agent or not, and on again', async () => {
    const environment = { HADAL_BPFFS: world.bpffs, HADAL_INSTANCE: 'test' };
    const name = await connect();
    expect(await redirectedOf(name)).toBeGreaterThan(0);
    expect((await hadal(['turbo', 'off'], { environment })).out).toMatch(/^turbo is off, by hand/);
    expect(await redirectedOf(name)).toBe(0);
    const { out, status } = await hadal(['turbo', 'on', '-o', 'json'], { environment });
    expect([JSON.parse(out).state, status]).toEqual(['on', 0]);
    expect(await redirectedOf(name)).toBeGreaterThan(0);
    await close(name);
  });

  it('carries nothing more over a connection that was destroyed, whatever its process tries', async () => {
    const name = await connect();
    expect(await redirectedOf(name)).toBeGreaterThan(0);
    const before = world.capture.turbo.readCounts().redirected;
    const [{ cookie } = { cookie: 0n }] = world.capture.sockets
      .list(client.netnsFd)
      .filter(({ remotePort }) => remotePort === 7000);
    expect(world.capture.sockets.destroy(client.netnsFd, [cookie])).toBe(1);
    // The first call tells of the end, and clears it.
    for (let attempt = 0; attempt < 3; attempt++) {
      await hands.client.do('option', { name, level: 'SOL_SOCKET', option: 'SO_ERROR' });
      expect(await hands.client.do('send', { name, bytes: 5 })).toMatchObject({ ok: false });
    }
    expect(world.capture.turbo.readCounts().redirected).toBe(before);
    expect(await hands.server.do('receive', { name, bytes: 5 })).toEqual({ ok: false, error: 'ECONNRESET' });
    await close(name);
  });

  it('goes on without an agent, is asked anew by the next, and ends with one that does not want it', async () => {
    const name = await connect();
    expect(await redirectedOf(name)).toBeGreaterThan(0);
    // As after a crash: everything this process holds is let go.
    world.capture.close();
    const pin = join(world.capture.pinDirectory, 'turbo');
    expect(existsSync(pin)).toBe(true);
    await pass(hands.client, hands.server, name, 50_000);

    world.capture = world.startCapture();
    expect(world.capture.turbo).toMatchObject({ state: 'on', isAttached: true, admitted: [] });
    for (const { podIndex } of [client, server]) world.capture.turbo.admit(podIndex);
    expect(await redirectedOf(name)).toBeGreaterThan(0);

    writeTurboSwitch(world.capture.maps.map('turbo_switch'), 'killed');
    expect(await redirectedOf(name)).toBe(0);
    world.capture.close();
    world.capture = world.startCapture();
    expect(world.capture.turbo.state).toBe('killed');
    writeTurboSwitch(world.capture.maps.map('turbo_switch'), 'on');

    world.capture.close();
    world.turbo = false;
    world.capture = world.startCapture();
    expect(world.capture.turbo).toMatchObject({ state: 'off', isAttached: false });
    expect(existsSync(pin)).toBe(false);
    expect(await redirectedOf(name)).toBe(0);
    await close(name);

    world.capture.close();
    world.turbo = true;
    world.capture = world.startCapture();
    expect(world.capture.turbo.state).toBe('on');
  });
});
