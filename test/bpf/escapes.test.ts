import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { type DialOptions, ip, podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

/** What an unprivileged process of a meshed pod may try. In this world nothing is carried further, so no TCP packet may leave. */
describe.skipIf(podWorldUnavailable !== undefined)('an unprivileged process of a meshed pod', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: WorldPod;
  let packets: () => Promise<{ count: number; first: string[] }>;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
    server = world.addPod('server');
    await world.serve(server, { ports: [8080] });
    packets = await world.sniff(client);
  });
  afterAll(() => world?.dispose());

  it('is heard by the sniffer of these tests when it goes out untouched', async () => {
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    await world.dial(client, { to: [server.ipv4, 8080] });
    await world.dial(client, { to: [server.ipv6, 8080] });
    world.capture.setRanges({ pods: ['10.60.0.0/16', 'fd60::/16'], services: [], mesh: [] });
    expect((await packets()).count).toBeGreaterThan(6);
  });

  const ways: (Omit<DialOptions, 'to'> & { way: string })[] = [
    { way: 'plainly' },
    { way: 'bound to its device', device: 'eth0' },
    { way: 'with a deferred TCP_FASTOPEN_CONNECT', fastOpen: 'connect' },
    {
      way: 'bound to its device after a deferred TCP_FASTOPEN_CONNECT',
      fastOpen: 'connect',
      deviceAfter: 'eth0',
    },
    { way: 'with MSG_FASTOPEN', fastOpen: 'send' },
    { way: 'over MPTCP', mptcp: true },
    { way: 'over MPTCP bound to its device', mptcp: true, device: 'eth0' },
    { way: 'with its option memory exhausted by TCP_MD5SIG keys', md5Keys: 2_000 },
  ];

  describe.each(ways)('that connects $way', ({ way: _way, ...options }) => {
    it.each([['IPv4'], ['IPv6'], ['IPv4 mapped into IPv6']])('over %s is captured', async (family) => {
      const address =
        family === 'IPv6' ? server.ipv6 : family === 'IPv4' ? server.ipv4 : `::ffff:${server.ipv4}`;
      const result = await world.dial(client, { to: [address, 8080], ...options });
      expect(await packets()).toEqual({ count: 0, first: [] });
      expect(result).toMatchObject({
        connected: true,
        answer: { who: expect.stringMatching(/^outbound\//) },
      });
      expect(result.answer?.remote.address).toBe(family === 'IPv6' ? client.ipv6 : client.ipv4);
      if (options.md5Keys !== undefined) expect(result.md5Keys).toBeLessThan(options.md5Keys);
    });
  });

  it.each([
    { bind: '127.0.0.1', to: () => server.ipv4 },
    { bind: '::1', to: () => server.ipv6 },
    { bind: 'fd60:99::9', to: () => server.ipv6, freebind: true },
  ])(
    'that binds to $bind, which is not its pod, is refused at connect()',
    async ({ bind, to, ...options }) => {
      const before = world.countOf(client, reasons.SOURCE_NOT_REGISTERED);
      const result = await world.dial(client, { to: [to(), 8080], bind: [bind, 0], ...options });
      expect(result).toMatchObject({ connected: false, error: 'EADDRNOTAVAIL' });
      expect(await packets()).toEqual({ count: 0, first: [] });
      expect(world.countOf(client, reasons.SOURCE_NOT_REGISTERED)).toBe(before + 1);
    },
  );

  it('of a pod that calls itself is answered, not looped', async () => {
    await world.serve(client, { ports: [8081], who: 'self' });
    for (const address of [client.ipv4, client.ipv6]) {
      const captured = world.countOf(client, reasons.CAPTURED_PLAINTEXT);
      expect((await world.dial(client, { to: [address, 8081] })).answer?.who).toBe('self');
      expect(world.countOf(client, reasons.CAPTURED_PLAINTEXT)).toBe(captured);
    }
    expect(await packets()).toEqual({ count: 0, first: [] });
  });

  it.each([
    { family: 'IPv4', address: '10.60.55.5', bits: 32, to: () => server.ipv4 },
    { family: 'IPv6', address: 'fd60:55::5', bits: 128, to: () => server.ipv6 },
  ])(
    'from an $family address that was added while it ran is refused until it is registered',
    async ({ address, bits, to }) => {
      ip(
        '-n',
        client.netns,
        'addr',
        'add',
        `${address}/${bits}`,
        'dev',
        'eth0',
        ...(bits === 128 ? ['nodad'] : []),
      );
      const dial = () => world.dial(client, { to: [to(), 8080], bind: [address, 0] });
      expect(await dial()).toMatchObject({ connected: false, error: 'EADDRNOTAVAIL' });
      client.capture.setAddresses([client.ipv4, client.ipv6, address]);
      expect((await dial()).answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        remote: { address },
      });
      client.capture.setAddresses([client.ipv4, client.ipv6]);
      expect(await packets()).toEqual({ count: 0, first: [] });
    },
  );

  it('whose kernel picks an address that is not registered yet is refused in the lookup', async () => {
    const before = world.countOf(client, reasons.SOURCE_NOT_REGISTERED);
    const near = server.ipv6.replace('::2', '::77');
    ip('-n', client.netns, 'addr', 'add', `${near}/128`, 'dev', 'eth0', 'nodad');
    const result = await world.dial(client, { to: [server.ipv6, 8080] });
    ip('-n', client.netns, 'addr', 'del', `${near}/128`, 'dev', 'eth0');
    expect(result).toMatchObject({ connected: false, error: 'ECONNREFUSED' });
    expect(await packets()).toEqual({ count: 0, first: [] });
    expect(world.countOf(client, reasons.SOURCE_NOT_REGISTERED)).toBe(before + 1);
  });

  it('that listens on the ports of the agent takes no connection from it', async () => {
    const pod = await world.addEnrolledPod('squatter', { listeners: false });
    await world.serve(pod, { ports: [15001, 15006, 15008], who: 'squatter' });
    await world.startListeners(pod);
    const to = (address: string, port: number) => world.dial(server, { to: [address, port] });
    expect((await to(pod.ipv4, 15008)).answer?.who).toMatch(/^hbone\//);
    expect((await to(pod.ipv6, 15006)).answer?.who).toMatch(/^plaintext\//);
    expect((await world.dial(pod, { to: [server.ipv4, 8080] })).answer?.who).toMatch(/^outbound\//);
  });

  it.each([['IPv4'], ['IPv6']])(
    'with a connected UDP socket over %s goes through untouched',
    async (family) => {
      const address = family === 'IPv4' ? server.ipv4 : server.ipv6;
      expect(await world.dial(client, { to: [address, 53], udp: true })).toMatchObject({
        connected: true,
        mark: 0,
      });
    },
  );
});
