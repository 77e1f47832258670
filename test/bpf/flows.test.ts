import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MARK, ROUTE_TABLE, VERDICT_UNTOUCHED } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, clusterRanges, type EnrolledPod } from '../helpers/capture-world.ts';
import { CollectedFlows } from '../helpers/collected-flows.ts';
import { ip, podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

const bytes = 10_000_007;

describe.skipIf(podWorldUnavailable !== undefined)('connections that the capture leaves alone', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let outside: WorldPod;
  let host: WorldPod;
  let flows: CollectedFlows;

  beforeAll(async () => {
    world = await CaptureWorld.create();
    pod = await world.addEnrolledPod('pod');
    outside = world.addPod('outside');
    await world.serve(outside, { ports: [8080] });
    await world.serve(pod, { ports: [8080] });
    host = { ...outside, ...world.node, name: 'node' };
    flows = new CollectedFlows(world);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    flows.clear();
  });
  afterEach(() => world.capture.setRanges(clusterRanges));

  const untouchedOf = (reason: number) =>
    world.capture
      .readCounters()
      .untouched.filter((count) => count.podIndex === pod.podIndex && count.reason === reason);
  const sumOf = (reason: number, column: 'bytesSent' | 'bytesReceived' | 'opened' | 'closed' | 'failed') =>
    untouchedOf(reason).reduce((sum, count) => sum + count[column], 0);
  const families = [
    { family: 'IPv4', of: (of: WorldPod) => of.ipv4 },
    { family: 'IPv6', of: (of: WorldPod) => of.ipv6 },
  ];

  describe.each(families)('over $family', ({ of }) => {
    it('are told when they end, with exact bytes both ways', async () => {
      const before = {
        sent: sumOf(reasons.OUTSIDE_MESH, 'bytesSent'),
        closed: sumOf(reasons.OUTSIDE_MESH, 'closed'),
      };
      const startedUs = Date.now() * 1000;
      const result = await world.dial(pod, { to: [of(outside), 8080], bytes });
      expect(result.received).toBe(bytes);
      await expect.poll(() => flows.ended.length).toBe(1);
      const [flow] = flows.ended;
      expect(flow).toMatchObject({
        kind: 'closed',
        direction: 'outbound',
        path: 'untouched',
        podIndex: pod.podIndex,
        reason: reasons.OUTSIDE_MESH,
        sourceAddress: of(pod),
        sourcePort: result.local?.port,
        destinationAddress: of(outside),
        destinationPort: 8080,
        bytesSent: bytes,
      });
      // What came back: the greeting, of which Python says the length, and the echo.
      expect(flow?.bytesReceived).toBe(bytes + (result.greetingBytes ?? 0));
      expect(flow?.rttMicroseconds).toBeGreaterThan(0);
      expect(flow?.durationMicroseconds).toBeGreaterThan(1_000);
      // The kernel's clock and the wall's are put together by two readings.
      expect(flow?.openedUnixMicroseconds).toBeGreaterThan(startedUs - 100_000);
      expect(flow?.openedUnixMicroseconds).toBeLessThan(Date.now() * 1000 + 100_000);
      expect(sumOf(reasons.OUTSIDE_MESH, 'bytesSent') - before.sent).toBe(bytes);
      expect(sumOf(reasons.OUTSIDE_MESH, 'closed') - before.closed).toBe(1);
    });

    it('are told from the side of the server too, when a probe reaches the application', async () => {
      const kubelet = world.makeCgroup(`kubelet${of(pod).includes(':') ? 6 : 4}`);
      world.capture.setKubelet({ hostNetnsCookie: world.node.netnsCookie, cgroup: kubelet });
      const result = await world.dial(host, { to: [of(pod), 8080], bytes: 1_000 }, { cgroup: kubelet });
      expect(result.answer?.who).toBe('app');
      await expect.poll(() => flows.ended.length).toBe(1);
      expect(flows.ended[0]).toMatchObject({
        kind: 'closed',
        direction: 'inbound',
        reason: reasons.KUBELET,
        sourcePort: result.local?.port,
        destinationAddress: of(pod),
        destinationPort: 8080,
        bytesSent: 1_000,
        bytesReceived: 1_000 + (result.greetingBytes ?? 0),
      });
    });

    it('are told while they live, and counted once', async () => {
      const before = sumOf(reasons.OUTSIDE_MESH, 'bytesReceived');
      const held = await world.dialAndHold(pod, { to: [of(outside), 8080] });
      const read = () => flows.liveOf(pod);
      const greeting = held.result.greetingBytes ?? 0;
      for (let sweep = 0; sweep < 3; sweep++) {
        expect(read()).toEqual([
          expect.objectContaining({
            kind: 'live',
            direction: 'outbound',
            sourcePort: held.result.local?.port,
            destinationAddress: of(outside),
            bytesSent: 0,
            bytesReceived: greeting,
          }),
        ]);
        expect(sumOf(reasons.OUTSIDE_MESH, 'bytesReceived') - before).toBe(greeting);
      }
      const liveId = read()[0]?.flowId;
      await held.check();
      await expect.poll(() => flows.ended.length).toBe(1);
      expect(flows.ended[0]).toMatchObject({ flowId: liveId, bytesSent: 1, bytesReceived: greeting + 1 });
      expect(sumOf(reasons.OUTSIDE_MESH, 'bytesReceived') - before).toBe(greeting + 1);
      expect(read()).toEqual([]);
    });

    it('that nobody accepts are told as refused', async () => {
      const before = sumOf(reasons.OUTSIDE_MESH, 'failed');
      await world.dial(pod, { to: [of(outside), 9] });
      await expect.poll(() => flows.ended.length).toBe(1);
      expect(flows.ended[0]).toMatchObject({ kind: 'refused', bytesSent: 0, bytesReceived: 0 });
      expect(sumOf(reasons.OUTSIDE_MESH, 'failed') - before).toBe(1);
    });

    it('by a row carry the edge of the row', async () => {
      const key = { podIndex: pod.podIndex, address: of(outside), port: 8080 };
      world.capture.putRows([[key, { verdict: VERDICT_UNTOUCHED, reason: 0, error: 0, edge: 77 }]]);
      await world.dial(pod, { to: [of(outside), 8080] });
      world.capture.removeRows([key]);
      await expect.poll(() => flows.ended.length).toBe(1);
      expect(flows.ended[0]).toMatchObject({ reason: reasons.ROW_UNTOUCHED, edge: 77 });
      expect(untouchedOf(reasons.ROW_UNTOUCHED).some(({ edge, closed }) => edge === 77 && closed > 0)).toBe(
        true,
      );
    });

    it('are none when the connection is captured, or a socket of the agent, or stays in the pod', async () => {
      world.capture.setRanges(clusterRanges);
      await world.dial(pod, { to: [of(outside), 8080] });
      await world.dial(outside, { to: [of(pod), 8080] });
      await world.dial(pod, { to: [of(outside), 8080], exempt: world.exemptPin }, { asRoot: true });
      await world.dial(pod, { to: [of(pod), 8080] });
      await world.dial(pod, { to: ['127.0.0.1', 8080] });
      const delivery = { transparent: true, mark: MARK, device: 'lo', exempt: world.exemptPin };
      await world.dial(pod, { to: [of(pod), 8080], bind: [of(outside), 0], ...delivery }, { asRoot: true });
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(flows.ended).toEqual([]);
    });

    it('that were marked and leave the pod all the same are told at once, and can be ended', async () => {
      world.capture.setRanges(clusterRanges);
      const version = of(pod).includes(':') ? '-6' : '-4';
      const rule = ['fwmark', `${MARK}/0xffff`, 'lookup', String(ROUTE_TABLE), 'priority', '100'];
      ip('-n', pod.netns, version, 'rule', 'del', ...rule);
      try {
        const before = world.countOf(pod, reasons.SLIPPED_THROUGH);
        const dialled = world.dial(pod, { to: [of(outside), 8080] });
        await expect.poll(() => flows.slipped.length, { timeout: 10_000 }).toBe(1);
        expect(world.countOf(pod, reasons.SLIPPED_THROUGH)).toBe(before + 1);
        expect(flows.slipped[0]).toMatchObject({
          kind: 'slipped',
          destinationAddress: of(outside),
          podIndex: pod.podIndex,
        });
        expect(world.capture.sockets.destroy(pod.netnsFd, [flows.slipped[0]?.cookie ?? 0n])).toBe(1);
        expect(await dialled).toMatchObject({ connected: false, error: 'ECONNABORTED' });
      } finally {
        ip('-n', pod.netns, version, 'rule', 'add', ...rule);
      }
    });
  });

  it('are tracked up to the limit of the pod, and counted beyond it', async () => {
    const before = world.capture.readCounters().faults.flowSlotsFull;
    pod.capture.captureOutbound({ flowLimit: 2 });
    const held = await Promise.all([1, 2, 3].map(() => world.dialAndHold(pod, { to: [outside.ipv4, 8080] })));
    expect(flows.liveOf(pod)).toHaveLength(2);
    expect(world.capture.readCounters().faults.flowSlotsFull).toBe(before + 1);
    await Promise.all(held.map(({ check }) => check()));
    await expect.poll(() => flows.ended.length).toBe(2);
    pod.capture.captureOutbound();
    // Slots were given back.
    await world.dialAll(pod, { to: [outside.ipv4, 8080], repeat: 5 });
    await expect.poll(() => flows.ended.length).toBe(7);
  });

  it('leave nothing in the kernel when they are gone', async () => {
    await world.dialAll(pod, { to: [outside.ipv4, 8080], repeat: 200 });
    await expect.poll(() => flows.ended.length).toBe(200);
    const budget = world.capture.maps
      .map('pod_budgets')
      .get(new Uint8Array(Uint32Array.of(pod.podIndex).buffer));
    expect(new DataView(budget?.buffer ?? new ArrayBuffer(8)).getBigUint64(0, true)).toBe(0n);
    expect(flows.liveOf(pod)).toEqual([]);
  });
});
