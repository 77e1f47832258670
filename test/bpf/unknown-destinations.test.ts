/** What connect() makes of destinations outside of the mesh and the cluster, where the outbound traffic policy says something. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { VERDICT_UNTOUCHED } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { type DialOptions, podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a connection out of the mesh', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  /** Reachable, and in no range: only the services' are known. */
  let stranger: WorldPod;
  let agent: { stop: () => Promise<void> };

  beforeAll(async () => {
    world = await CaptureWorld.create({
      ranges: { pods: [], services: ['10.96.0.0/16', 'fd96::/16'], mesh: [] },
    });
    client = await world.addEnrolledPod('client', { listeners: false });
    agent = await world.startListeners(client);
    stranger = world.addPod('stranger');
    await world.serve(stranger, { ports: [8080] });
    await world.serve(client, { ports: [8080], who: 'self' });
  });
  afterAll(() => world?.dispose());
  afterEach(() => client.capture.setUnknown('allow'));

  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4, service: '10.96.0.10', loopback: '127.0.0.1' },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6, service: 'fd96::10', loopback: '::1' },
  ];
  const refusedCount = () =>
    world.capture
      .readCounters()
      .refused.find(
        ({ podIndex, edge, reason }) =>
          podIndex === client.podIndex && edge === 0 && reason === reasons.EGRESS_REFUSED,
      )?.count ?? 0;

  describe.each(families)('over $family', ({ of, service, loopback }) => {
    const dial = (options: Partial<DialOptions> = {}) =>
      world.dial(client, { to: [of(stranger), 8080], ...options });

    it('is left alone, until the policy is REGISTRY_ONLY: then it fails at once with EACCES, and is counted', async () => {
      expect(await dial()).toMatchObject({
        mark: 0,
        answer: { who: 'app', remote: { address: of(client) } },
      });
      const [met, told] = [world.countOf(client, reasons.EGRESS_REFUSED), refusedCount()];
      client.capture.setUnknown('refuse');
      const refused = await dial();
      expect(refused).toMatchObject({ connected: false, error: 'EACCES' });
      expect(refused.seconds).toBeLessThan(0.2);
      expect(world.countOf(client, reasons.EGRESS_REFUSED)).toBe(met + 1);
      expect(refusedCount()).toBe(told + 1);
    });

    it('is refused however the socket gets there, and not a packet leaves', async () => {
      client.capture.setUnknown('refuse');
      const packets = await world.sniff(client);
      const ways: Partial<DialOptions>[] = [
        {},
        { fastOpen: 'connect' },
        { fastOpen: 'send' },
        { mptcp: true },
        // Marked by a first connection to the mesh, which must not help.
        { first: [service, 80] },
        { bind: [of(client), 0] },
      ];
      for (const way of ways) expect(await dial(way)).toMatchObject({ connected: false, error: 'EACCES' });
      expect(await packets()).toEqual({ count: 0, first: [] });
    });

    it('is refused while no agent runs, and all else goes on as ever', async () => {
      client.capture.setUnknown('refuse');
      await agent.stop();
      try {
        const packets = await world.sniff(client);
        expect(await dial()).toMatchObject({ error: 'EACCES' });
        expect(await dial({ to: [service, 80] })).toMatchObject({ error: 'ECONNREFUSED' });
        expect(await packets()).toEqual({ count: 0, first: [] });
        expect((await dial({ to: [loopback, 8080] })).answer?.who).toBe('self');
        expect((await dial({ to: [of(client), 8080] })).answer?.who).toBe('self');
        expect(await dial({ udp: true })).toMatchObject({ connected: true });
      } finally {
        agent = await world.startListeners(client);
      }
    });

    it('goes on where the mesh knows the address, a row leaves it alone, or the agent itself connects', async () => {
      client.capture.setUnknown('refuse');
      expect((await dial({ to: [service, 80] })).answer?.who).toMatch(/^outbound\//);
      const range = { added: [of(stranger)], removed: [] };
      world.capture.changeMeshRanges(range);
      expect((await dial()).answer?.who).toMatch(/^outbound\//);
      world.capture.changeMeshRanges({ added: [], removed: [of(stranger)] });
      const key = { podIndex: client.podIndex, address: of(stranger), port: 8080 };
      world.capture.putRows([[key, { verdict: VERDICT_UNTOUCHED, reason: 0, error: 0, edge: 0 }]]);
      expect((await dial()).answer?.who).toBe('app');
      world.capture.removeRows([key]);
      const own = { to: [of(stranger), 8080] as const, exempt: world.exemptPin };
      expect((await world.dial(client, own, { asRoot: true })).answer?.who).toBe('app');
      expect(await dial()).toMatchObject({ error: 'EACCES' });
    });

    it('is the agent’s to decide where the pod’s own policy is not known yet, and refused without one', async () => {
      client.capture.setUnknown('ask');
      expect((await dial()).answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        local: { address: of(stranger) },
      });
      await agent.stop();
      expect(await dial()).toMatchObject({ error: 'ECONNREFUSED' });
      agent = await world.startListeners(client);
    });
  });

  it('is refused as an IPv4 address mapped into IPv6 too', async () => {
    client.capture.setUnknown('refuse');
    expect(await world.dial(client, { to: [`::ffff:${stranger.ipv4}`, 8080] })).toMatchObject({
      error: 'EACCES',
    });
  });

  it('is refused from the moment of capture on, and by the next agent until that says otherwise', async () => {
    client.capture.captureOutbound({ unknown: 'refuse' });
    const { podIndex, netnsFd, netnsCookie, ipv4, ipv6 } = client;
    const next = world.startCapture();
    const listeners = { outbound: [], hbone: [], plaintext: [] };
    const taken = next.attachPod({ podIndex, netnsFd, netnsCookie, addresses: [ipv4, ipv6], listeners });
    const dial = () => world.dial(client, { to: [stranger.ipv4, 8080] });
    expect(await dial()).toMatchObject({ error: 'EACCES' });
    taken.captureOutbound();
    expect(await dial()).toMatchObject({ error: 'EACCES' });
    taken.captureOutbound({ unknown: 'allow' });
    expect((await dial()).answer?.who).toBe('app');
    taken.close();
    next.close();
  });

  it('of another pod is none of its business', async () => {
    const other = await world.addEnrolledPod('other');
    client.capture.setUnknown('refuse');
    expect((await world.dial(other, { to: [stranger.ipv4, 8080] })).answer?.who).toBe('app');
  });
});
