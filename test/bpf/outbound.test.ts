import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MARK, VERDICT_REFUSE, VERDICT_TUNNEL, VERDICT_UNTOUCHED } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a connection that a pod opens', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: WorldPod;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
    server = world.addPod('server');
    await world.serve(server, { ports: [8080] });
    await world.serve(client, { ports: [8080], who: 'self' });
  });
  afterAll(() => world?.dispose());

  const families = [
    {
      family: 'IPv4',
      of: (pod: WorldPod) => pod.ipv4,
      service: '10.96.0.10',
      elsewhere: '10.61.0.1',
      loopback: '127.0.0.1',
    },
    {
      family: 'IPv6',
      of: (pod: WorldPod) => pod.ipv6,
      service: 'fd96::10',
      elsewhere: 'fd61::1',
      loopback: '::1',
    },
  ];

  const refusedOf = (edge: number) =>
    world.capture
      .readCounters()
      .refused.find((found) => found.edge === edge && found.podIndex === client.podIndex)?.count ?? 0;

  describe.each(families)('over $family', ({ of, service, loopback }) => {
    it('to a pod is captured, with its real addresses on both sides', async () => {
      const before = world.countOf(client, reasons.MARKED);
      const result = await world.dial(client, { to: [of(server), 8080] });
      expect(result).toMatchObject({
        connected: true,
        local: { address: of(client) },
        remote: { address: of(server), port: 8080 },
        answer: {
          who: expect.stringMatching(/^outbound\//),
          local: { address: of(server), port: 8080 },
          remote: { address: of(client), port: result.local?.port },
        },
      });
      expect(world.countOf(client, reasons.MARKED)).toBe(before + 1);
      expect(world.countOf(client, reasons.CAPTURED_OUTBOUND)).toBeGreaterThan(0);
    });

    it('to a service address that nothing answers is captured', async () => {
      const result = await world.dial(client, { to: [service, 80] });
      expect(result.answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        local: { address: service, port: 80 },
      });
    });

    it('to loopback is left alone', async () => {
      const before = world.countOf(client, reasons.LOOPBACK);
      const result = await world.dial(client, { to: [loopback, 8080] });
      expect(result).toMatchObject({ mark: 0, answer: { who: 'self', remote: { address: loopback } } });
      expect(world.countOf(client, reasons.LOOPBACK)).toBeGreaterThan(before);
    });

    it('to the own address is left alone, and answered by the own application', async () => {
      const result = await world.dial(client, { to: [of(client), 8080] });
      expect(result).toMatchObject({ mark: 0, answer: { who: 'self', remote: { address: of(client) } } });
      expect(world.countOf(client, reasons.OWN_ADDRESS)).toBeGreaterThan(0);
    });

    it('to what a row leaves alone goes out untouched', async () => {
      const key = { podIndex: client.podIndex, address: of(server), port: 8080 };
      world.capture.putRows([[key, { verdict: VERDICT_UNTOUCHED, reason: 0, error: 0, edge: 5 }]]);
      const result = await world.dial(client, { to: [of(server), 8080] });
      world.capture.removeRows([key]);
      expect(result).toMatchObject({ mark: 0, answer: { who: 'app', remote: { address: of(client) } } });
      expect(world.countOf(client, reasons.ROW_UNTOUCHED)).toBeGreaterThan(0);
    });

    it.each([
      { errno: 111, name: 'ECONNREFUSED' },
      { errno: 13, name: 'EACCES' },
      { errno: 0, name: 'EPERM' },
    ])('to what a row refuses fails at once with $name', async ({ errno, name }) => {
      const key = { podIndex: client.podIndex, address: of(server), port: 8081 };
      const edge = 1_000 + errno;
      const refusedBefore = refusedOf(edge);
      const row = { verdict: VERDICT_REFUSE, reason: reasons.POLICY_DENIED, error: errno, edge };
      const before = world.countOf(client, reasons.POLICY_DENIED);
      world.capture.putRows([[key, row]]);
      const result = await world.dial(client, { to: [of(server), 8081] });
      world.capture.removeRows([key]);
      expect(result).toMatchObject({ connected: false, error: name });
      expect(result.seconds).toBeLessThan(0.1);
      expect(world.countOf(client, reasons.POLICY_DENIED)).toBe(before + 1);
      expect(refusedOf(edge)).toBe(refusedBefore + 1);
    });

    it('to what a row sends through the tunnel is captured though it is in no range', async () => {
      const [address, port] = [of(server).replace('60', '61'), 443] as const;
      const key = { podIndex: client.podIndex, address, port };
      world.capture.putRows([[key, { verdict: VERDICT_TUNNEL, reason: 0, error: 0, edge: 0 }]]);
      const result = await world.dial(client, { to: [address, port] });
      world.capture.removeRows([key]);
      expect(result.answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        local: { address, port },
      });
    });

    it('outside of mesh and ranges goes out untouched', async () => {
      world.capture.setRanges({ pods: [], services: [], mesh: [] });
      try {
        const result = await world.dial(client, { to: [of(server), 8080] });
        expect(result).toMatchObject({ mark: 0, answer: { who: 'app', remote: { address: of(client) } } });
      } finally {
        world.capture.setRanges({
          pods: ['10.60.0.0/16', 'fd60::/16'],
          services: ['10.96.0.0/16', 'fd96::/16'],
          mesh: [],
        });
      }
      expect(world.countOf(client, reasons.OUTSIDE_MESH)).toBeGreaterThan(0);
    });

    it('to the longest matching range alone is captured', async () => {
      world.capture.setRanges({ pods: [], services: [], mesh: [of(server)] });
      try {
        expect((await world.dial(client, { to: [of(server), 8080] })).answer?.who).toMatch(/^outbound\//);
      } finally {
        world.capture.setRanges({
          pods: ['10.60.0.0/16', 'fd60::/16'],
          services: ['10.96.0.0/16', 'fd96::/16'],
          mesh: [],
        });
      }
    });

    it('over UDP is never marked', async () => {
      const result = await world.dial(client, { to: [of(server), 8080], udp: true });
      expect(result).toMatchObject({ connected: true, mark: 0 });
      expect(world.capture.readCounters().reasons.get(reasons.NOT_TCP)).toBeGreaterThan(0);
    });

    it('by the agent itself is exempt by its socket storage alone', async () => {
      const result = await world.dial(
        client,
        { to: [of(server), 8080], exempt: world.exemptPin },
        { asRoot: true },
      );
      expect(result.answer?.who).toBe('app');
      expect(world.countOf(client, reasons.AGENT_SOCKET)).toBeGreaterThan(0);
      const asRoot = await world.dial(
        client,
        { to: [of(server), 8080] },
        { asRoot: true, cgroup: world.cgroup },
      );
      expect(asRoot.answer?.who).toMatch(/^outbound\//);
    });

    it('from a pod that is not enrolled goes out untouched', async () => {
      const result = await world.dial(server, { to: [of(server), 8080] });
      expect(result).toMatchObject({ mark: 0, answer: { who: 'app' } });
    });

    it('keeps the high half of a mark of its own', async () => {
      const result = await world.dial(
        client,
        { to: [of(server), 8080], mark: 0x7000_0000 },
        { asRoot: true },
      );
      expect(result).toMatchObject({
        mark: 0x7000_0000 | MARK,
        answer: { who: expect.stringMatching(/^outbound\//) },
      });
    });

    it('loses the mark when its socket goes elsewhere afterwards', async () => {
      const result = await world.dial(client, { first: [service, 80], to: [loopback, 8080] });
      expect(result).toMatchObject({ mark: 0, answer: { who: 'self' } });
    });
  });

  it('is spread over the workers by its source', async () => {
    const results = await world.dialAll(client, { to: [server.ipv4, 8080], repeat: 40 });
    const workers = new Set(results.map(({ answer }) => answer?.who));
    expect([...workers].sort()).toEqual(['outbound/0', 'outbound/1']);
  });
});
