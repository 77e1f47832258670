import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { VERDICT_DIRECT } from '../../src/kernel/constants.gen.ts';
import type { DirectSlot } from '../../src/kernel/row-table.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('a connection to a pod of the same node', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let other: EnrolledPod;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client');
    server = await world.addEnrolledPod('server');
    other = await world.addEnrolledPod('other');
    await world.serve(server, { ports: [8080], who: 'server' });
    await world.serve(other, { ports: [8080], who: 'other' });
  });
  afterAll(() => world?.dispose());
  beforeEach(() => world.capture.dns.beat());

  const families = [
    { family: 'IPv4', of: (pod: WorldPod) => pod.ipv4, service: '10.96.0.10' },
    { family: 'IPv6', of: (pod: WorldPod) => pod.ipv6, service: 'fd96::10' },
  ];

  const slotOf = (pod: EnrolledPod, address: string): DirectSlot => ({
    kind: 'direct',
    address,
    port: 8080,
    podIndex: pod.podIndex,
    netnsCookie: pod.netnsCookie,
    edge: 50,
    inboundEdge: 51,
  });
  const lead = (address: string, ...slots: DirectSlot[]) =>
    world.capture.putRows([
      [
        { podIndex: client.podIndex, address, port: 80 },
        { verdict: VERDICT_DIRECT, edge: 49, slots },
      ],
    ]);
  const authorized = () => world.capture.maps.map('authorized').keys().length;
  afterEach(() => {
    world.capture.replaceRows(client.podIndex, []);
    expect(authorized()).toBe(0);
  });

  describe.each(families)('over $family', ({ of, service }) => {
    it('reaches its application, which sees the client, and shows the service', async () => {
      lead(service, slotOf(server, of(server)));
      const before = world.countOf(server, reasons.AUTHORIZED);
      const result = await world.dial(client, { to: [service, 80] });
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
      expect(world.countOf(client, reasons.DIRECT)).toBeGreaterThan(0);
      expect(world.countOf(server, reasons.AUTHORIZED)).toBe(before + 1);
    });

    it('is spread by weight, and the agent has its share', async () => {
      lead(service, slotOf(server, of(server)), slotOf(other, of(other)), slotOf(other, of(other)), {
        kind: 'tunnel',
      });
      const results = await world.dialAll(client, { to: [service, 80], repeat: 400 });
      const share = (who: RegExp) => results.filter(({ answer }) => who.test(answer?.who ?? '')).length;
      // Each bound is five standard deviations away.
      expect(share(/server/)).toBeGreaterThan(56);
      expect(share(/server/)).toBeLessThan(144);
      expect(share(/other/)).toBeGreaterThan(150);
      expect(share(/other/)).toBeLessThan(250);
      expect(share(/outbound/)).toBeGreaterThan(56);
      expect(share(/server|other|outbound/)).toBe(400);
    });
  });
});
