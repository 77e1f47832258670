/** Ports and ranges that annotations traffic.sidecar.istio.io/... take out of a pod's capture. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FlowReader } from '../../src/kernel/flows.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { UntouchedFlow } from '../../src/model/flow.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import {
  createTrafficExclusions,
  excludesInbound,
  excludesOutbound,
  noExclusions,
  type TrafficExclusions,
} from '../../src/model/traffic-exclusions.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable !== undefined)('what a pod takes out of its capture', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let peer: WorldPod;
  let agent: { stop: () => Promise<void> };
  let reader: FlowReader;
  const closed: UntouchedFlow[] = [];
  const ports = [8080, 8081];

  beforeAll(async () => {
    world = await CaptureWorld.create();
    pod = await world.addEnrolledPod('pod', { listeners: false });
    agent = await world.startListeners(pod);
    peer = world.addPod('peer');
    await world.serve(peer, { ports });
    await world.serve(pod, { ports: [...ports, 15_008], who: 'self' });
    reader = world.capture.openFlows({
      onClosed: (records) => {
        for (let index = 0; index * reader.recordBytes < records.byteLength; index++)
          closed.push(reader.decode(records, index));
      },
      onSlipped: () => {},
      intervalMs: 0,
    });
    world.onDispose(() => reader.close());
  });
  afterAll(() => world?.dispose());
  afterEach(() => pod.capture.setExclusions(noExclusions));

  const take = (fields: Partial<TrafficExclusions>) =>
    pod.capture.setExclusions(createTrafficExclusions(fields));
  const outTo = async (address: string, port: number) =>
    (await world.dial(pod, { to: [address, port] })).answer?.who.replace(/\/.*/, '');
  const inTo = async (address: string, port: number) =>
    (await world.dial(peer, { to: [address, port], timeout: 0.5 })).answer?.who.replace(/\/.*/, '');
  const lastFlow = () =>
    expect.poll(() => {
      reader.flush();
      return closed.at(-1);
    });

  it.each([
    ['a port', { excludeOutboundPorts: [8080] }],
    ['a range', { excludeOutboundRanges: ['10.60.0.0/16', 'fd60::/16'] }],
    ['what an include list of ranges does not name', { includeOutboundRanges: ['192.0.2.0/24'] }],
    ['everything, by an empty include list', { includeOutboundRanges: [] }],
  ])(
    'its own connections to %s are left alone, told as such, and captured again afterwards',
    async (_, fields) => {
      for (const address of [peer.ipv4, peer.ipv6]) {
        expect(await outTo(address, 8080)).toBe('outbound');
        const before = world.countOf(pod, reasons.EXCLUDED_OUTBOUND);
        take(fields);
        expect(await outTo(address, 8080)).toBe('app');
        expect(world.countOf(pod, reasons.EXCLUDED_OUTBOUND)).toBe(before + 1);
        await lastFlow().toMatchObject({
          direction: 'outbound',
          path: 'untouched',
          reason: reasons.EXCLUDED_OUTBOUND,
          destinationAddress: address,
        });
        pod.capture.setExclusions(noExclusions);
        expect(await outTo(address, 8080)).toBe('outbound');
      }
    },
  );

  it('goes out whatever the outbound traffic policy and whether an agent runs, and the rest does not', async () => {
    pod.capture.setUnknown('refuse');
    take({ excludeOutboundPorts: [8081] });
    await agent.stop();
    expect(await outTo(peer.ipv4, 8081)).toBe('app');
    expect(await world.dial(pod, { to: [peer.ipv4, 8080] })).toMatchObject({ error: 'ECONNREFUSED' });
    agent = await world.startListeners(pod);
    pod.capture.setUnknown('allow');
  });

  it('in clear reaches the application at its excluded ports, and no others', async () => {
    take({ excludeInboundPorts: [8081, 15_008] });
    for (const address of [pod.ipv4, pod.ipv6]) {
      const before = world.countOf(pod, reasons.EXCLUDED_INBOUND);
      expect(await inTo(address, 8081)).toBe('self');
      expect(world.countOf(pod, reasons.EXCLUDED_INBOUND)).toBe(before + 1);
      await lastFlow().toMatchObject({ direction: 'inbound', reason: reasons.EXCLUDED_INBOUND });
      expect(await inTo(address, 8080)).toBe('plaintext');
      // Tunnels are the agent's, whatever is excluded.
      expect(await inTo(address, 15_008)).toBe('hbone');
    }
    take({ includeInboundPorts: [8081] });
    expect([await inTo(pod.ipv4, 8080), await inTo(pod.ipv4, 8081)]).toEqual(['self', 'plaintext']);
    await agent.stop();
    expect([await inTo(pod.ipv4, 8080), await inTo(pod.ipv4, 8081)]).toEqual(['self', undefined]);
    agent = await world.startListeners(pod);
  });

  it('is its own alone, and gone with it', async () => {
    const other = await world.addEnrolledPod('other');
    take({ excludeOutboundPorts: [8080], excludeOutboundRanges: ['0.0.0.0/0', '::/0'] });
    for (const address of [peer.ipv4, peer.ipv6])
      expect((await world.dial(other, { to: [address, 8080] })).answer?.who).toMatch(/^outbound\//);
    other.capture.setExclusions(
      createTrafficExclusions({ excludeOutboundPorts: [1], excludeOutboundRanges: ['10.0.0.0/8'] }),
    );
    const entries = () =>
      ['excluded_ports', 'excluded_ranges'].map((name) => world.capture.maps.map(name).keys().length);
    expect(entries()).toEqual([2, 3]);
    other.capture.detach();
    expect(entries()).toEqual([1, 2]);
  });

  it('is what the next agent takes from its request', async () => {
    take({ excludeOutboundPorts: [8080] });
    const { podIndex, netnsFd, netnsCookie, ipv4, ipv6 } = pod;
    const next = world.startCapture();
    const listeners = { outbound: [], hbone: [], plaintext: [] };
    const taken = next.attachPod({ podIndex, netnsFd, netnsCookie, addresses: [ipv4, ipv6], listeners });
    expect(await outTo(peer.ipv4, 8080)).toBe('app');
    taken.captureOutbound({ exclusions: createTrafficExclusions({ excludeOutboundPorts: [8081] }) });
    expect([await outTo(peer.ipv4, 8080), await outTo(peer.ipv4, 8081)]).toEqual(['outbound', 'app']);
    taken.close();
    next.close();
    take({ excludeOutboundPorts: [1] });
  });

  it('is in the kernel as TypeScript says, for any lists', { timeout: 240_000 }, async () => {
    const port = fc.constantFrom(8080, 8081, 443);
    const portList = fc.array(port, { maxLength: 2 });
    const range = fc.constantFrom(
      '10.60.0.0/16',
      '0.0.0.0/0',
      '10.61.0.0/16',
      'fd60::/16',
      '::/0',
      'fd61::/16',
    );
    const rangeList = fc.array(range, { maxLength: 2 });
    const lists = fc.record({
      excludeOutboundPorts: portList,
      excludeOutboundRanges: rangeList,
      includeOutboundPorts: portList,
      includeOutboundRanges: fc.option(rangeList, { nil: undefined }),
      excludeInboundPorts: portList,
      includeInboundPorts: fc.option(portList, { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(lists, async (fields) => {
        const exclusions = createTrafficExclusions(fields);
        pod.capture.setExclusions(exclusions);
        for (const [address, own, to] of [
          [peer.ipv4, pod.ipv4, 8080],
          [peer.ipv6, pod.ipv6, 8081],
        ] as const) {
          const parsed = parseAddress(address);
          if (parsed === undefined) throw new Error(address);
          expect(await outTo(address, to)).toBe(
            excludesOutbound(exclusions, parsed, to) ? 'app' : 'outbound',
          );
          expect(await inTo(own, to)).toBe(excludesInbound(exclusions, to) ? 'self' : 'plaintext');
        }
      }),
      { numRuns: 15 },
    );
  });
});
