import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HEARTBEAT_STALE_MS } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { DnsWorld, digMissing, serveNames, type TestNameserver } from '../helpers/dns-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const programs = join(dirname(fileURLToPath(import.meta.url)), '../helpers/programs');
const catalog = 'catalog.shop.svc.cluster.local';

interface Told {
  readonly from?: readonly [string, number];
  readonly peer?: readonly [string, number];
  readonly bytes?: number;
  readonly error?: string;
}

describe.skipIf(podWorldUnavailable !== undefined || digMissing !== undefined)('a query of a pod', () => {
  let world: DnsWorld;
  let second: TestNameserver;
  let overIpv6: TestNameserver;

  const ask = async (options: object, asRoot = false): Promise<Told[]> =>
    JSON.parse(
      await world.run(['/usr/bin/python3', join(programs, 'ask_strict.py'), JSON.stringify(options)], {
        asRoot,
      }),
    );
  const count = (reason: number) => world.world.countOf(world.client, reason);

  beforeAll(async () => {
    world = await DnsWorld.create();
    const other = world.world.addPod('names2');
    second = await serveNames(world.world, other, other.ipv4);
    overIpv6 = await serveNames(world.world, other, other.ipv6);
    for (const server of [world.nameserver, second, overIpv6]) {
      server.records.set('www.example.org', [
        { type: 'A', name: 'www.example.org', ttl: 5, data: '192.0.2.80' },
        { type: 'AAAA', name: 'www.example.org', ttl: 5, data: '2001:db8::80' },
      ]);
      server.records.set(catalog, [{ type: 'A', name: catalog, ttl: 5, data: '192.0.2.1' }]);
    }
    const long = Array.from({ length: 200 }, (_, index) => ({
      type: 'A' as const,
      name: 'long.example.org',
      ttl: 5,
      data: `192.0.2.${index}`,
    }));
    world.nameserver.records.set('long.example.org', long);
    world.resolvers.close();
    world.resolvers = world.startResolvers();
    world.resolvers.add(world.pod());
    // Slots for all nameservers; the second of them is learned by being asked.
    world.world.capture.dns.configure(world.client.podIndex, [
      world.nameserver.address,
      second.address,
      overIpv6.address,
    ]);
    await sleep(1_100);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    for (const server of [world.nameserver, second, overIpv6]) server.asked.length = 0;
  });

  const asked = () =>
    [world.nameserver, second, overIpv6].flatMap((server) => server.asked.map(({ name }) => name));

  describe('by dig', () => {
    it('for a service is answered by the agent', async () => {
      expect(await world.dig(catalog)).toEqual(['10.96.0.10']);
      expect(await world.dig('AAAA', catalog)).toEqual(['fd96::10']);
      expect(asked()).toEqual([]);
    });

    it('for a headless service tells its endpoints, and each of them by its own name', async () => {
      expect(await world.dig('stock.shop.svc.cluster.local')).toEqual(['10.60.8.1', '10.60.8.2']);
      expect(await world.dig('stock-1.stock.shop.svc.cluster.local')).toEqual(['10.60.8.2']);
      expect(await world.dig('AAAA', '10-60-8-1.stock.shop.svc.cluster.local')).toEqual(['fd60::8:1']);
    });

    it('for SRV tells port and name of each endpoint', async () => {
      expect(await world.dig('SRV', `_http._tcp.${catalog}`)).toEqual([`0 100 80 ${catalog}.`]);
      expect(await world.dig('SRV', '_stock._tcp.stock.shop.svc.cluster.local')).toEqual([
        '0 100 7070 stock-0.stock.shop.svc.cluster.local.',
        '0 100 7070 stock-1.stock.shop.svc.cluster.local.',
      ]);
    });

    it('for a short name follows the search domains', async () => {
      expect(await world.dig('+search', 'catalog')).toEqual(['10.96.0.10']);
      expect(await world.dig('api.payments.example')).toEqual(['240.240.0.1']);
    });

    it('for a name that the mesh does not have goes to the nameserver, from the pod itself', async () => {
      expect(await world.dig('www.example.org')).toEqual(['192.0.2.80']);
      expect(world.nameserver.asked).toEqual([
        { name: 'www.example.org', type: 'A', from: world.client.ipv4, by: 'udp' },
      ]);
    });

    it('asks the very nameserver that the pod named', async () => {
      expect(await world.dig(`@${second.address}`, 'www.example.org')).toEqual(['192.0.2.80']);
      expect(second.asked).toHaveLength(1);
      expect(await world.dig(`@${overIpv6.address}`, 'www.example.org')).toEqual(['192.0.2.80']);
      expect(overIpv6.asked).toMatchObject([{ from: world.client.ipv6 }]);
      expect(world.nameserver.asked).toEqual([]);
    });

    it('over TCP is answered in the same way', async () => {
      expect(await world.dig('+tcp', catalog)).toEqual(['10.96.0.10']);
      expect(await world.dig('+tcp', `@${overIpv6.address}`, catalog)).toEqual(['10.96.0.10']);
      expect(await world.dig('+tcp', 'www.example.org')).toEqual(['192.0.2.80']);
      expect(world.nameserver.asked).toMatchObject([{ by: 'tcp', from: world.client.ipv4 }]);
    });

    it('that is too long for UDP comes again by TCP, from the agent and from the nameserver', async () => {
      const many = await world.dig('many.shop.svc.cluster.local', '+noedns');
      expect(many).toHaveLength(60);
      expect(await world.dig('many.shop.svc.cluster.local', '+bufsize=4096')).toHaveLength(60);
      expect(await world.dig('long.example.org')).toHaveLength(200);
      expect(world.nameserver.asked.map(({ by }) => by)).toEqual(['udp', 'tcp']);
    });

    it('keeps the case of its letters', async () => {
      const text = await world.run([
        'dig',
        'CaTaLoG.shop.SVC.cluster.local',
        '+noall',
        '+question',
        '+answer',
      ]);
      expect(text.match(/CaTaLoG\.shop\.SVC\.cluster\.local\./g)).toHaveLength(2);
    });
  });

  describe('by a strict client', () => {
    it.each([
      { family: 4, name: 'an IPv4 socket' },
      { family: 6, name: 'an IPv6 socket to a mapped address' },
    ])('on $name, unconnected, seems to be answered by each nameserver it asked', async ({ family }) => {
      const form = (address: string) => (family === 6 ? `::ffff:${address}` : address);
      const to = [world.nameserver.address, second.address].map(form);
      const told = await ask({ family, to, name: catalog });
      expect(told.map(({ from }) => from).sort()).toEqual(to.map((address) => [address, 53]).sort());
      expect(asked()).toEqual([]);
    });

    it.each([
      { family: 4, name: 'an IPv4 socket', to: () => world.nameserver.address },
      { family: 6, name: 'an IPv6 socket', to: () => overIpv6.address },
      {
        family: 6,
        name: 'an IPv6 socket to a mapped address',
        to: () => `::ffff:${world.nameserver.address}`,
      },
    ])('on $name, connected, sees the nameserver as its peer, also over TCP', async ({ family, to }) => {
      const peer = [to(), 53];
      expect(await ask({ family, to: [to()], name: catalog, connect: true })).toMatchObject([
        { from: peer, peer },
      ]);
      expect(await ask({ family, to: [to()], name: catalog, tcp: true, repeat: 3 })).toMatchObject([
        { peer },
        { peer },
        { peer },
      ]);
      expect(asked()).toEqual([]);
    });

    it('bound to the pod’s address is answered too', async () => {
      const told = await ask({ to: [world.nameserver.address], name: catalog, bind: world.client.ipv4 });
      expect(told).toMatchObject([{ from: [world.nameserver.address, 53] }]);
      expect(asked()).toEqual([]);
    });

    it('bound to an interface is left to its nameserver', async () => {
      const before = count(reasons.DNS_NOT_STEERED);
      await ask({ to: [world.nameserver.address], name: catalog, device: 'eth0' });
      expect(asked()).toEqual([catalog]);
      expect(count(reasons.DNS_NOT_STEERED)).toBe(before + 1);
    });
  });

  describe('by a C library', () => {
    let musl = '';
    beforeAll(() => {
      if (!existsSync('/usr/bin/musl-gcc')) return;
      musl = join(world.directory, 'ask-musl');
      execFileSync('musl-gcc', ['-static', '-O1', '-o', musl, join(programs, 'ask.c')]);
    });
    const glibc = [
      '/usr/bin/python3',
      '-c',
      'import socket,sys; print("\\n".join(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80)})))',
    ];
    const cases = [
      { libc: 'glibc', argv: () => glibc },
      { libc: 'musl', argv: () => [musl] },
    ];

    it.for(cases)('$libc finds both addresses of a name', async ({ argv }, { skip }) => {
      skip(argv()[0] === '', 'musl-gcc is missing (apt-get install musl-tools)');
      const lines = async (name: string, resolvConf?: string) =>
        (await world.run([...argv(), name], resolvConf === undefined ? {} : { resolvConf }))
          .trim()
          .split('\n')
          .sort();
      expect(await lines('catalog')).toEqual(['10.96.0.10', 'fd96::10']);
      expect(await lines('www.example.org')).toEqual(['192.0.2.80', '2001:db8::80']);
      world.nameserver.asked.length = 0;
      // musl asks all of them at once from one socket, which is an IPv6 one as soon as one of them is.
      const three = [world.nameserver, overIpv6, second]
        .map(({ address }) => `nameserver ${address}\n`)
        .join('');
      expect(await lines(catalog, three)).toEqual(['10.96.0.10', 'fd96::10']);
      expect(asked()).not.toContain(catalog);
    });
  });

  describe('of which the agent is not the one to answer', () => {
    it('goes to its nameserver when it is the agent’s own, by UDP and TCP', async () => {
      const exempt = world.world.exemptPin;
      const to = [world.nameserver.address];
      await ask({ to, name: catalog, exempt }, true);
      await ask({ to, name: catalog, exempt, connect: true }, true);
      await ask({ to, name: catalog, exempt, tcp: true }, true);
      expect(world.nameserver.asked.map(({ by }) => by)).toEqual(['udp', 'udp', 'tcp']);
    });

    afterEach(() => {
      world.client.capture.captureDns(true);
      world.world.capture.dns.beat();
    });

    it('goes to its nameserver when the agent has shown no sign of life', async () => {
      const beat = world.world.capture.maps.map('agent_heartbeat');
      const before = count(reasons.DNS_RESOLVER_AWAY);
      const silence = () => {
        const stale = process.hrtime.bigint() - BigInt(HEARTBEAT_STALE_MS + 100) * 1_000_000n;
        beat.set(new Uint8Array(4), new Uint8Array(BigUint64Array.of(stale).buffer));
      };
      silence();
      // The resolvers of this process go on beating once a second.
      const silencing = setInterval(silence, 10);
      try {
        await expect.poll(() => world.dig(catalog), { timeout: 20_000 }).toEqual(['192.0.2.1']);
        await expect.poll(() => world.dig('+tcp', catalog), { timeout: 20_000 }).toEqual(['192.0.2.1']);
      } finally {
        clearInterval(silencing);
        world.world.capture.dns.beat();
      }
      expect(count(reasons.DNS_RESOLVER_AWAY)).toBeGreaterThan(before + 1);
    });

    it('goes to its nameserver when the pod, or the agent for all, wants no capture', async () => {
      world.resolvers.add(world.pod({ dnsCapture: false }));
      expect(await world.dig(catalog)).toEqual(['192.0.2.1']);
      world.resolvers.close();
      world.resolvers = world.startResolvers({ captureByDefault: false });
      world.resolvers.add(world.pod());
      expect(await world.dig(catalog)).toEqual(['192.0.2.1']);
      world.resolvers.add(world.pod({ dnsCapture: true }));
      expect(await world.dig(catalog)).toEqual(['10.96.0.10']);
    });

    it('goes where it should: to a nameserver in the pod itself, or as TCP that is no query at all', async () => {
      const own = await serveNames(world.world, world.client, '127.0.0.11');
      own.records.set(catalog, [{ type: 'A', name: catalog, ttl: 5, data: '192.0.2.11' }]);
      const atPod = await serveNames(world.world, world.client, world.client.ipv4);
      atPod.records.set(catalog, [{ type: 'A', name: catalog, ttl: 5, data: '192.0.2.12' }]);
      const rounds = ['first', 'with resolvers for whatever was asked'];
      for (const round of rounds) {
        expect(await world.dig('@127.0.0.11', catalog), round).toEqual(['192.0.2.11']);
        expect(await world.dig('+tcp', '@127.0.0.11', catalog), round).toEqual(['192.0.2.11']);
        expect(await world.dig(`@${world.client.ipv4}`, catalog), round).toEqual(['192.0.2.12']);
        const result = await world.world.dial(world.client, { to: ['10.96.0.77', 53] });
        expect(result.answer, round).toMatchObject({
          who: expect.stringMatching(/^outbound\//),
          local: { address: '10.96.0.77', port: 53 },
        });
        await sleep(1_100);
      }
    });

    it('makes no nameserver of an address for TCP: what the pod dials there the mesh carries', async () => {
      await ask({ to: ['10.96.0.78'], name: catalog });
      // Meanwhile it has a resolver.
      await sleep(1_100);
      const result = await world.world.dial(world.client, { to: ['10.96.0.78', 53] });
      expect(result.answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        local: { address: '10.96.0.78', port: 53 },
      });
    });

    it('goes to its nameserver when the pod asks more of them than there is room for', async () => {
      for (const last of [1, 2, 3]) await ask({ to: [`10.60.77.${last}`], name: catalog, timeout: 0.05 });
      const before = count(reasons.DNS_NOT_STEERED);
      await ask({ to: ['10.60.77.9'], name: catalog, timeout: 0.05 });
      expect(count(reasons.DNS_NOT_STEERED)).toBe(before + 1);
    });
  });

  it('meets the same ports after a restart of the agent, and none while there is no agent', async () => {
    const ports = () =>
      world.world.capture.dns
        .ports()
        .map(({ slot, protocol, port }) => `${slot} ${protocol} ${port}`)
        .sort();
    const before = ports();
    world.resolvers.close();
    expect(await world.dig(catalog)).toEqual(['192.0.2.1']);
    world.resolvers = world.startResolvers();
    world.resolvers.add(world.pod());
    expect(await world.dig(catalog)).toEqual(['10.96.0.10']);
    expect(ports()).toEqual(expect.arrayContaining(before));
  });

  it('of a pod of the cluster’s DNS is never answered', async () => {
    world.resolvers.close();
    world.resolvers = world.startResolvers({ clusterDnsService: 'shop/catalog' });
    const { createSnapshot } = await import('../../src/model/snapshot.ts');
    const whole = world.snapshot;
    const workloads = [...whole.workloads.values()].map((workload) =>
      workload.uid === 'client'
        ? { ...workload, services: [{ service: `shop/${catalog}`, ports: [] }] }
        : workload,
    );
    world.snapshot = createSnapshot({ workloads, services: [...whole.services.values()], policies: [] });
    world.resolvers.add(world.pod());
    expect(await world.dig(catalog)).toEqual(['192.0.2.1']);
    world.snapshot = whole;
    await sleep(1_100);
    expect(await world.dig(catalog)).toEqual(['10.96.0.10']);
  });
});
