import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAP_ABI, VERDICT_REFUSE } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, clusterRanges, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('when the agent goes', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: WorldPod;
  let listeners: { stop: () => Promise<void> };
  let packets: () => Promise<{ count: number; first: string[] }>;

  beforeEach(async () => {
    world = await CaptureWorld.create();
    server = world.addPod('server');
    client = await world.addEnrolledPod('client', { listeners: false });
    listeners = await world.startListeners(client);
    await world.serve(server, { ports: [8080] });
    await world.serve(client, { ports: [8080] });
    packets = await world.sniff(client);
  });
  afterEach(() => world?.dispose());

  /** As after kill -9: every descriptor is closed, nothing was cleaned up. */
  async function crash(): Promise<void> {
    await listeners.stop();
    client.capture.close();
    world.capture.close();
  }

  async function restart(): Promise<void> {
    world.capture = world.startCapture();
    client = world.attach(client, client.podIndex);
    listeners = await world.startListeners(client);
  }

  it.each([['IPv4'], ['IPv6']])(
    'new connections of its pods over %s are refused, none leaves in clear',
    async (family) => {
      await crash();
      const [to, own] = family === 'IPv4' ? [server.ipv4, client.ipv4] : [server.ipv6, client.ipv6];
      expect(await world.dial(client, { to: [to, 8080] })).toMatchObject({
        connected: false,
        error: 'ECONNREFUSED',
      });
      expect(await packets()).toEqual({ count: 0, first: [] });
      expect(await world.dial(server, { to: [own, 8080] })).toMatchObject({
        connected: false,
        error: 'ECONNREFUSED',
      });
      await restart();
      expect(world.countOf(client, reasons.NO_LISTENER)).toBe(2);
    },
  );

  it('a new one takes over programs, pods, ranges, rows and counters', async () => {
    const key = { podIndex: client.podIndex, address: server.ipv4, port: 81 };
    world.capture.putRows([[key, { verdict: VERDICT_REFUSE, reason: 0, error: 111, edge: 0 }]]);
    await world.dial(client, { to: [server.ipv4, 8080] });
    const marked = world.countOf(client, reasons.MARKED);
    await crash();
    await restart();
    expect(world.capture.adopted).toBe(true);
    expect(world.capture.pinnedPods()).toEqual([
      { podIndex: client.podIndex, netnsCookie: client.netnsCookie },
    ]);
    expect(client.capture.isCapturingOutbound).toBe(true);
    expect(world.countOf(client, reasons.MARKED)).toBe(marked);
    expect(world.capture.maps.rows.keys()).toEqual([key]);
    // Nothing to do: what is wanted is there already.
    expect(world.capture.setRanges(clusterRanges)).toEqual({ set: 0, deleted: 0 });
    expect((await world.dial(client, { to: [server.ipv4, 8080] })).answer?.who).toMatch(/^outbound\//);
    expect((await world.dial(server, { to: [client.ipv6, 8080] })).answer?.who).toMatch(/^plaintext\//);
  });

  it('a new one with more workers uses them all', async () => {
    await crash();
    world.workers = 4;
    await restart();
    const results = await world.dialAll(client, { to: [server.ipv4, 8080], repeat: 60 });
    expect(new Set(results.map(({ answer }) => answer?.who)).size).toBe(4);
  });

  it('an established connection that no tunnel carries goes on, and through the change of programs', async () => {
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    const held = await world.dialAndHold(client, { to: [server.ipv4, 8080] });
    await crash();
    await restart();
    expect(await held.check()).toEqual({ alive: true });
  });

  it('a new one beside a living one takes its place without a refused connection', async () => {
    const dialling = world.dialAll(client, { to: [server.ipv4, 8080], repeat: 400 });
    const old = { capture: world.capture, pod: client.capture, listeners };
    await restart();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await old.listeners.stop();
    old.pod.close();
    old.capture.close();
    const results = await dialling;
    expect(results.filter(({ connected }) => connected)).toHaveLength(400);
  });

  it('a half made start is swept by the next one', async () => {
    await crash();
    const stale = join(world.bpffs, 'hadal', 'test', `v${MAP_ABI}-tmp-4194303`);
    mkdirSync(join(stale, 'maps'), { recursive: true });
    await restart();
    expect(existsSync(stale)).toBe(false);
  });

  it('pods that went meanwhile are forgotten, all of them', async () => {
    await world.dial(client, { to: [server.ipv4, 8080] });
    await crash();
    world.capture = world.startCapture();
    expect(world.capture.forgetPods(() => true)).toHaveLength(1);
    expect(world.capture.pinnedPods()).toEqual([]);
    expect(world.capture.maps.podAddresses.keys()).toEqual([]);
    expect(world.capture.maps.map('pods').keys()).toEqual([]);
    expect(world.capture.readCounters().pods).toEqual([]);
    expect((await world.dial(client, { to: [server.ipv4, 8080] })).answer?.who).toBe('app');
    expect((await world.dial(server, { to: [client.ipv4, 8080] })).answer?.who).toBe('app');
  });

  it('a pod that is taken out is as if there were no mesh, and its open connections go on', async () => {
    const held = await world.dialAndHold(client, { to: [server.ipv4, 8080] });
    expect(held.result.answer?.who).toMatch(/^outbound\//);
    client.capture.detach();
    expect((await world.dial(client, { to: [server.ipv4, 8080] })).answer?.who).toBe('app');
    expect((await world.dial(server, { to: [client.ipv6, 8080] })).answer?.who).toBe('app');
    expect(await held.check()).toEqual({ alive: true });
  });

  it('for good, it leaves nothing in bpffs', async () => {
    world.capture.uninstall();
    expect(readdirSync(join(world.bpffs, 'hadal'))).toEqual([]);
    expect((await world.dial(client, { to: [server.ipv4, 8080] })).answer?.who).toBe('app');
    world.capture = world.startCapture();
  });

  it('another cgroup of the same name is attached anew', async () => {
    const path = join(world.cgroup, 'moved');
    mkdirSync(path);
    const start = () => world.startCapture(path, 'moved');
    start().close();
    const link = () => readdirSync(join(world.bpffs, 'hadal', 'moved', `v${MAP_ABI}`, 'links'));
    const before = link();
    rmdirSync(path);
    mkdirSync(path);
    const capture = start();
    expect(capture.adopted).toBe(true);
    expect(link()).toHaveLength(1);
    expect(link()).not.toEqual(before);
    capture.uninstall();
    rmdirSync(path);
  });
});
