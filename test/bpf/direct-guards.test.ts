import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.ts';
import { Resolvers } from '../../src/dns/resolvers.ts';
import { HEARTBEAT_ROWS, MARK, ROUTE_TABLE } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { emptySnapshot } from '../../src/model/snapshot.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { directSlot, endedAll, leadDirectly, notYetOpen } from '../helpers/direct-rows.ts';
import { ip, podWorldUnavailable, setSysctl, type WorldPod } from '../helpers/pod-world.ts';

/** What must hold before a connection goes directly, and before its first byte. */
describe.skipIf(podWorldUnavailable !== undefined)('a connection goes directly to a pod of its node', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let thief: EnrolledPod;
  let listeners: { stop: () => Promise<void> };

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client', { listeners: false });
    listeners = await world.startListeners(client);
    server = await world.addEnrolledPod('server');
    thief = await world.addEnrolledPod('thief');
    await world.serve(server, { ports: [8080], who: 'server' });
  });
  afterAll(() => world?.dispose());
  beforeEach(() => world.capture.dns.beat());
  afterEach(() => endedAll(world, client, [client]));

  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4, service: '10.96.0.10' },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6, service: 'fd96::10' },
  ];
  const captured = { connected: true, answer: { who: expect.stringMatching(/^outbound\//) } };
  const setBeat = (secondsAgo: number) => {
    const at = process.hrtime.bigint() - BigInt(secondsAgo) * 1_000_000_000n;
    const key = new Uint8Array(Uint32Array.of(HEARTBEAT_ROWS).buffer);
    world.capture.maps.map('agent_heartbeat').set(key, new Uint8Array(BigUint64Array.of(at).buffer));
  };

  describe.each(families)('over $family', ({ family, of, service }) => {
    /** Dials what must not go directly; how often the reason was counted for it. */
    const dialCounted = async (reason: number, options: Partial<Parameters<typeof world.dial>[1]> = {}) => {
      const before = world.countOf(client, reason);
      const result = await world.dial(client, { to: [service, 80], ...options });
      return { result, counted: world.countOf(client, reason) - before };
    };
    const direct = (to = server) => leadDirectly(world, client, service, directSlot(to, of(to)));

    it('only while the agent gave a sign of life within a minute, and to the agent afterwards', async () => {
      direct();
      setBeat(45);
      expect((await world.dial(client, { to: [service, 80] })).answer?.who).toBe('server');
      setBeat(61);
      const { result, counted } = await dialCounted(reasons.DIRECT_AGENT_SILENT);
      expect(result).toMatchObject({ ...captured, remote: { address: service, port: 80 } });
      expect(counted).toBe(1);
    });

    it('only once the next agent has judged the rows of before: that it answers for names is not enough', async () => {
      direct();
      setBeat(61);
      const resolvers = new Resolvers({
        native: nativeAddon(),
        capture: world.capture.dns,
        snapshot: () => emptySnapshot,
        settings: { clusterDomain: 'cluster.local', preferredNamespace: '' },
        captureByDefault: true,
        clusterDnsService: 'kube-system/kube-dns',
        upstreamTimeoutMs: 1_000,
        logger: silentLogger,
      });
      try {
        const { result, counted } = await dialCounted(reasons.DIRECT_AGENT_SILENT);
        expect({ result, counted }).toMatchObject({ result: captured, counted: 1 });
        resolvers.vouchForRows();
        expect((await world.dial(client, { to: [service, 80] })).answer?.who).toBe('server');
      } finally {
        resolvers.close();
      }
    });

    it('only while the destination is enrolled under the same index and namespace', async () => {
      const pod = world.attach(world.addPod(`short-${family}`));
      pod.capture.captureOutbound();
      await world.serve(pod, { ports: [8080], who: 'short' });
      direct(pod);
      expect((await world.dial(client, { to: [service, 80] })).answer?.who).toBe('short');
      for (const changed of [{ podIndex: 999 }, { netnsCookie: server.netnsCookie }]) {
        direct({ ...pod, ...changed });
        const { result, counted } = await dialCounted(reasons.DIRECT_POD_GONE);
        expect({ result, counted }).toMatchObject({ result: captured, counted: 1 });
      }
      direct(pod);
      pod.capture.leave();
      expect(await dialCounted(reasons.DIRECT_POD_GONE)).toMatchObject({ result: captured, counted: 1 });
      pod.capture.detach();
      expect(await dialCounted(reasons.DIRECT_POD_GONE)).toMatchObject({ result: captured, counted: 1 });
    });

    it('only to an endpoint that is still there and of its family', async () => {
      direct();
      expect(world.capture.maps.rows.removeTargets([of(server)])).toBe(1);
      expect(await dialCounted(reasons.DIRECT_NO_TARGET)).toMatchObject({ result: captured, counted: 1 });
      leadDirectly(world, client, service, directSlot(server, family === 'IPv4' ? server.ipv6 : server.ipv4));
      expect(await dialCounted(reasons.DIRECT_NO_TARGET)).toMatchObject({ result: captured, counted: 1 });
    });

    it.each([
      { way: 'over MPTCP', mptcp: true },
      { way: 'with a deferred TCP_FASTOPEN_CONNECT', fastOpen: 'connect' as const },
      { way: 'with MSG_FASTOPEN', fastOpen: 'send' as const },
    ])('never $way, which goes to the agent', async ({ way: _way, ...options }) => {
      direct();
      const { result, counted } = await dialCounted(reasons.DIRECT_NOT_TRACKABLE, options);
      expect({ result, counted }).toMatchObject({ result: captured, counted: 1 });
    });

    it('never when the socket’s option memory is exhausted', async () => {
      direct();
      const { result, counted } = await dialCounted(reasons.DIRECT_NOT_STORED, { md5Keys: 2_000 });
      expect({ result, counted }).toMatchObject({ result: captured, counted: 1 });
    });

    it('never beyond the connections that its pod may have; further ones go to the agent', async () => {
      direct();
      client.capture.captureOutbound({ flowLimit: 2 });
      const held = await Promise.all([1, 2].map(() => world.dialAndHold(client, { to: [service, 80] })));
      const { result, counted } = await dialCounted(reasons.DIRECT_QUOTA);
      // Its endpoint was chosen before: that is what the agent is asked for.
      expect(result).toMatchObject({
        ...captured,
        remote: { address: service, port: 80 },
        answer: { ...captured.answer, local: { address: of(server), port: 8080 } },
      });
      expect(counted).toBe(1);
      for (const { check } of held) expect(await check()).toEqual({ alive: true });
      client.capture.captureOutbound();
    });

    it('never from an address that is not registered for the pod: not one packet leaves', async () => {
      direct();
      const packets = await world.sniff(client);
      const foreign = { bind: [of(thief), 0], transparent: true } as const;
      const bound = await world.dial(client, { to: [service, 80], ...foreign }, { asRoot: true });
      expect(bound).toMatchObject({ connected: false, error: 'EADDRNOTAVAIL' });
      const other = family === 'IPv4' ? client.ipv6 : client.ipv4;
      client.capture.setAddresses([other]);
      const { result, counted } = await dialCounted(reasons.SOURCE_NOT_REGISTERED, { timeout: 0.5 });
      client.capture.setAddresses([client.ipv4, client.ipv6]);
      expect(result.connected).toBe(false);
      expect(counted).toBeGreaterThan(0);
      expect(await packets()).toEqual({ count: 0, first: [] });
    });

    it('never by a tuple that another pod was authorized for, nor by a SYN made by hand', async () => {
      const meant = await world.dialAndHold(client, { to: [service, 80] });
      await meant.check();
      const tuple = { client: of(thief), clientPort: 41_234, server: of(server), serverPort: 8080 };
      const entry = {
        destinationPodIndex: client.podIndex,
        sourcePodIndex: 1,
        inboundEdge: 0,
        ...notYetOpen,
      };
      world.capture.maps.authorized.set(tuple, entry);
      const before = world.countOf(server, reasons.CAPTURED_PLAINTEXT);
      const authorizedBefore = world.countOf(server, reasons.AUTHORIZED);
      const dialled = await world.dial(
        thief,
        { to: [of(server), 8080], bind: [of(thief), 41_234], exempt: world.exemptPin },
        { asRoot: true },
      );
      expect(dialled.answer?.who).toMatch(/^plaintext\//);
      expect(world.capture.maps.authorized.get(tuple)?.seen).toBe(0);
      world.capture.maps.authorized.delete(tuple);
      const own = await world.sendSyn(thief, { from: [of(thief), 41_235], to: [of(server), 8080] });
      const foreign = await world.sendSyn(thief, { from: [of(client), 41_236], to: [of(server), 8080] });
      expect([own.answered, foreign.answered]).toEqual(['syn-ack', null]);
      expect(world.countOf(server, reasons.CAPTURED_PLAINTEXT)).toBeGreaterThanOrEqual(before + 3);
      expect(world.countOf(server, reasons.AUTHORIZED)).toBe(authorizedBefore);
    });

    it('gives no byte to whoever has the address of a pod that went while no agent ran', async () => {
      const gone = await world.addEnrolledPod(`gone-${family}`, { listeners: false });
      direct(gone);
      gone.capture.close();
      world.removePod(gone);
      const reused = world.addPod(`reused-${family}`, gone);
      const packets = await world.sniff(client, 'secret');
      expect((await world.dial(world.addPod(`free-${family}`), { to: [of(reused), 8080] })).error).toBe(
        'ECONNREFUSED',
      );
      await world.serve(reused, { ports: [8080], who: 'reused' });
      const refused = { result: { connected: false, error: 'ECONNRESET' }, counted: 1 };
      expect(await dialCounted(reasons.DESTINATION_NOT_SEEN, { say: 'secret' })).toMatchObject(refused);
      // The SYN, which carries nothing.
      const heard = { count: 0, marked: 0 };
      const hear = async () => {
        const { count, marked = 0 } = await packets();
        heard.count += count;
        heard.marked += marked;
        return heard;
      };
      await expect.poll(hear).toMatchObject({ count: 1 });
      expect(await hear()).toEqual({ count: 1, marked: 0 });
      // The same while no agent runs: over IPv4 nobody resets it, and it ends by itself.
      await listeners.stop();
      try {
        for (const say of ['secret', undefined]) {
          const away = await dialCounted(reasons.DESTINATION_NOT_SEEN, { ...(say && { say }), timeout: 5 });
          expect(away).toMatchObject({
            result: { error: family === 'IPv4' ? 'ETIMEDOUT' : 'ECONNRESET' },
            counted: 1,
          });
        }
        // Two SYNs, and resets of what was answered too late.
        expect(await packets()).toMatchObject({ marked: 0 });
      } finally {
        listeners = await world.startListeners(client);
      }
      // Whoever has flushed the rule meets the guard of what leaves the pod.
      const version = family === 'IPv4' ? '-4' : '-6';
      const rule = ['fwmark', `${MARK}/0xffff`, 'lookup', String(ROUTE_TABLE), 'priority', '100'];
      ip('-n', client.netns, version, 'rule', 'del', ...rule);
      const flushed = await dialCounted(reasons.DESTINATION_NOT_SEEN, { say: 'secret', timeout: 0.5 });
      ip('-n', client.netns, version, 'rule', 'add', ...rule);
      expect(flushed.result.answer).toBeUndefined();
      expect(flushed.counted).toBe(1);
      expect(await packets()).toMatchObject({ marked: 0 });
    });

    it.skipIf(!existsSync('/usr/sbin/nft'))(
      'gives no byte to a destination that sees another source',
      async () => {
        direct();
        const nft = (...args: string[]) =>
          execFileSync('ip', ['netns', 'exec', world.node.netns, 'nft', ...args]);
        nft('add', 'table', 'inet', 'translate');
        nft('add', 'chain', 'inet', 'translate', 'out', '{ type nat hook postrouting priority 100; }');
        nft('add', 'rule', 'inet', 'translate', 'out', 'masquerade');
        try {
          const packets = await world.sniff(client, 'secret');
          const { result, counted } = await dialCounted(reasons.DESTINATION_NOT_SEEN, { say: 'secret' });
          // A slow machine's connect() has returned before the reset comes.
          expect(['ECONNRESET', 'ENOTCONN']).toContain(result.error);
          expect(result.answer).toBeUndefined();
          expect(counted).toBe(1);
          expect(await packets()).toMatchObject({ marked: 0 });
        } finally {
          nft('delete', 'table', 'inet', 'translate');
        }
      },
    );

    it('with SYN cookies, which ask twice', async () => {
      setSysctl(server.netns, 'net/ipv4/tcp_syncookies', '2');
      direct();
      const before = world.countOf(server, reasons.AUTHORIZED);
      const result = await world.dial(client, { to: [service, 80], bytes: 100_000 });
      setSysctl(server.netns, 'net/ipv4/tcp_syncookies', '1');
      expect(result).toMatchObject({ received: 100_000, answer: { who: 'server' } });
      expect(world.countOf(server, reasons.AUTHORIZED)).toBe(before + 2);
    });
  });

  it('never without room for its tuple: it goes to the agent', async () => {
    leadDirectly(world, client, '10.96.0.10', directSlot(server, server.ipv4));
    const map = world.capture.maps.map('authorized');
    const keys = new Uint8Array(map.maxEntries * map.keySize);
    const view = new DataView(keys.buffer);
    for (let index = 0; index < map.maxEntries; index++) view.setUint32(index * map.keySize, index + 1, true);
    map.setBatch(keys, new Uint8Array(map.maxEntries * map.valueSize));
    const before = world.countOf(client, reasons.DIRECT_NOT_AUTHORIZED);
    const result = await world.dial(client, { to: ['10.96.0.10', 80] });
    map.deleteBatch(keys);
    expect(result).toMatchObject({
      ...captured,
      answer: { ...captured.answer, local: { address: server.ipv4 } },
    });
    expect(world.countOf(client, reasons.DIRECT_NOT_AUTHORIZED)).toBe(before + 1);
  });
});
