import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MARK } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { notYetOpen } from '../helpers/direct-rows.ts';
import { ip, podWorldUnavailable, setSysctl, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a connection that arrives in a pod', () => {
  let world: CaptureWorld;
  let server: EnrolledPod;
  let client: WorldPod;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    server = await world.addEnrolledPod('server');
    client = world.addPod('client');
    await world.serve(server, { ports: [8080, 15008] });
  });
  afterAll(() => world?.dispose());

  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4, added: '10.60.77.1', loopback: '127.0.0.1' },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6, added: 'fd60:77::1', loopback: '::1' },
  ];

  describe.each(families)('over $family', ({ of, added, loopback }) => {
    it('from anybody goes to the plaintext listener, which sees the real addresses', async () => {
      const before = world.countOf(server, reasons.CAPTURED_PLAINTEXT);
      const result = await world.dial(client, { to: [of(server), 8080] });
      expect(result).toMatchObject({
        connected: true,
        remote: { address: of(server), port: 8080 },
        answer: {
          who: expect.stringMatching(/^plaintext\//),
          local: { address: of(server), port: 8080 },
          remote: { address: of(client), port: result.local?.port },
        },
      });
      // A SYN that is sent again is looked up again.
      expect(world.countOf(server, reasons.CAPTURED_PLAINTEXT)).toBeGreaterThan(before);
    });

    it('goes to the plaintext listener also on a port where no application listens', async () => {
      const result = await world.dial(client, { to: [of(server), 9] });
      expect(result.answer).toMatchObject({ who: expect.stringMatching(/^plaintext\//), local: { port: 9 } });
    });

    it('on port 15008 goes to the HBONE listener, though an application has that port', async () => {
      const result = await world.dial(client, { to: [of(server), 15008] });
      expect(result.answer).toMatchObject({
        who: expect.stringMatching(/^hbone\//),
        remote: { address: of(client) },
      });
      expect(world.countOf(server, reasons.CAPTURED_HBONE)).toBeGreaterThan(0);
    });

    it('from the pod itself reaches the application, also on port 15008', async () => {
      for (const port of [8080, 15008]) {
        const result = await world.dial(server, { to: [of(server), port] });
        expect(result.answer).toMatchObject({ who: 'app', remote: { address: of(server) } });
      }
      expect(world.countOf(server, reasons.OWN_ADDRESS)).toBeGreaterThan(0);
    });

    it('over loopback reaches the application', async () => {
      const result = await world.dial(server, { to: [loopback, 8080] });
      expect(result.answer).toMatchObject({ who: 'app', remote: { address: loopback } });
    });

    it('from the agent over lo reaches the application with the address and port of the client', async () => {
      const before = world.countOf(server, reasons.AGENT_DELIVERY);
      const delivery = { transparent: true, mark: MARK, device: 'lo', exempt: world.exemptPin };
      const bind = [of(client), 41_234] as const;
      const result = await world.dial(
        server,
        { to: [of(server), 8080], bind, ...delivery },
        { asRoot: true, cgroup: world.cgroup },
      );
      expect(result.answer).toEqual({
        who: 'app',
        local: { address: of(server), port: 8080 },
        remote: { address: of(client), port: 41_234 },
        mark: MARK,
      });
      expect(world.countOf(server, reasons.AGENT_DELIVERY)).toBe(before + 1);
    });

    it('from the agent to a closed port is refused at once, and nothing of it leaves the pod', async () => {
      const packets = await world.sniff(server);
      const delivery = { transparent: true, mark: MARK, device: 'lo', exempt: world.exemptPin };
      const result = await world.dial(
        server,
        { to: [of(server), 9], bind: [of(client), 0], ...delivery },
        { asRoot: true, cgroup: world.cgroup },
      );
      expect(result).toMatchObject({ connected: false, error: 'ECONNREFUSED' });
      expect(await packets()).toEqual({ count: 0, first: [] });
    });

    it('from the agent without the device lo would come back to the agent', async () => {
      const delivery = { transparent: true, mark: MARK, exempt: world.exemptPin };
      const result = await world.dial(
        server,
        { to: [of(server), 8080], bind: [of(client), 0], ...delivery },
        { asRoot: true, cgroup: world.cgroup },
      );
      expect(result.answer?.who).toMatch(/^plaintext\//);
    });

    it('whose tuple is authorized reaches the application', async () => {
      const bind = [of(client), 42_345] as const;
      const tuple = { client: of(client), clientPort: 42_345, server: of(server), serverPort: 8080 };
      const { authorized } = world.capture.maps;
      const entry = {
        destinationPodIndex: server.podIndex,
        sourcePodIndex: 40,
        inboundEdge: 0,
        ...notYetOpen,
      };
      const address = { podIndex: 40, address: of(client) };
      world.capture.maps.podAddresses.set(address, { value: 1 });
      authorized.set(tuple, entry);
      const result = await world.dial(client, { to: [of(server), 8080], bind });
      expect(authorized.get(tuple)?.seen).not.toBe(0);
      authorized.delete(tuple);
      world.capture.maps.podAddresses.delete(address);
      expect(result.answer?.who).toBe('app');
      expect(world.countOf(server, reasons.AUTHORIZED)).toBeGreaterThan(0);
      expect(
        (await world.dial(client, { to: [of(server), 8080], bind: [of(client), 42_346] })).answer?.who,
      ).toMatch(/^plaintext\//);
    });

    it('on port 15008 goes to the HBONE listener though its tuple is authorized, and the kubelet’s', async () => {
      for (const [name, size] of [
        ['authorized', 40],
        ['kubelet_tuples', 4],
      ] as const) {
        const tuple = { client: of(client), clientPort: 43_456, server: of(server), serverPort: 15_008 };
        const key = world.capture.maps.tuple.encode(tuple);
        world.capture.maps.map(name).set(key, new Uint8Array(size));
        const result = await world.dial(client, { to: [of(server), 15_008], bind: [of(client), 43_456] });
        world.capture.maps.map(name).delete(key);
        expect(result.answer?.who).toMatch(/^hbone\//);
      }
    });

    it('from the pod itself is untouched before anything else is asked', async () => {
      const captured = () =>
        [reasons.CAPTURED_PLAINTEXT, reasons.CAPTURED_HBONE, reasons.CAPTURED_OUTBOUND].reduce(
          (sum, reason) => sum + world.countOf(server, reason),
          0,
        );
      const before = captured();
      await world.dial(server, { to: [of(server), 15_008] });
      await world.dial(server, { to: [loopback, 15_008] });
      expect(captured()).toBe(before);
    });

    it('over UDP is none of our business', async () => {
      const before = world.capture.readCounters().pods.filter(({ podIndex }) => podIndex === server.podIndex);
      expect((await world.dial(client, { to: [of(server), 8080], udp: true })).connected).toBe(true);
      expect(
        world.capture.readCounters().pods.filter(({ podIndex }) => podIndex === server.podIndex),
      ).toEqual(before);
    });

    it('to an address that was added meanwhile is dropped until it is registered, then steered', async () => {
      const bits = added.includes(':') ? 128 : 32;
      ip(
        '-n',
        server.netns,
        'addr',
        'add',
        `${added}/${bits}`,
        'dev',
        'eth0',
        ...(bits === 128 ? ['nodad'] : []),
      );
      ip('-n', world.node.netns, 'route', 'add', `${added}/${bits}`, 'via', of(server));
      const before = world.countOf(server, reasons.SOURCE_NOT_REGISTERED);
      expect(await world.dial(client, { to: [added, 8080] })).toMatchObject({
        connected: false,
        error: 'ECONNREFUSED',
      });
      expect(world.countOf(server, reasons.SOURCE_NOT_REGISTERED)).toBeGreaterThan(before);
      server.capture.setAddresses([server.ipv4, server.ipv6, added]);
      expect((await world.dial(client, { to: [added, 8080] })).answer?.who).toMatch(/^plaintext\//);
      server.capture.setAddresses([server.ipv4, server.ipv6]);
    });

    it('twice with SYN cookies meets the worker that sent the cookie', async () => {
      setSysctl(server.netns, 'net/ipv4/tcp_syncookies', '2');
      const results = await world.dialAll(client, { to: [of(server), 8080], repeat: 20 });
      setSysctl(server.netns, 'net/ipv4/tcp_syncookies', '1');
      expect(results.filter(({ answer }) => answer?.who.startsWith('plaintext/'))).toHaveLength(20);
      expect(new Set(results.map(({ answer }) => answer?.who)).size).toBe(2);
    });
  });

  it('to a pod whose application shares its port with the agent by SO_REUSEPORT never meets the stranger', async () => {
    const pod = await world.addEnrolledPod('squatted', { listeners: false });
    const { ports } = await world.startListeners(pod, { reusePort: true });
    // Same uid as the agent's listeners, as a pod that runs as root would have.
    await world.serve(
      pod,
      { ports: [ports.plaintext ?? 0], reusePort: true, who: 'stranger' },
      { asRoot: true },
    );
    const results = await world.dialAll(client, { to: [pod.ipv4, 8080], repeat: 40 });
    expect(results.filter(({ answer }) => answer?.who.startsWith('plaintext/'))).toHaveLength(40);
  });

  it('is taken by the workers that are left when one has no listener', async () => {
    const pod = await world.addEnrolledPod('halved', { listeners: false });
    await world.startListeners(pod, { workers: [1] });
    const results = await world.dialAll(client, { to: [pod.ipv4, 8080], repeat: 10 });
    expect(results.map(({ answer }) => answer?.who)).toEqual(Array(10).fill('plaintext/1'));
  });

  it.each([['IPv4'], ['IPv6']])(
    'over %s is refused when the agent has no listener, and never reaches the application',
    async (family) => {
      const pod = await world.addEnrolledPod(`orphan${family.slice(-1)}`, { listeners: false });
      await world.serve(pod, { ports: [8080] });
      const address = family === 'IPv4' ? pod.ipv4 : pod.ipv6;
      for (const port of [8080, 15008, 9]) {
        expect(await world.dial(client, { to: [address, port] })).toMatchObject({
          connected: false,
          error: 'ECONNREFUSED',
        });
      }
      expect(world.countOf(pod, reasons.NO_LISTENER)).toBe(3);
    },
  );
});
