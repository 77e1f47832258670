/** Pods whose annotation lets connections in clear reach the application (ambient.istio.io/bypass-inbound-capture). */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FlowReader } from '../../src/kernel/flows.ts';
import type { UntouchedFlow } from '../../src/model/flow.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

describe.skipIf(podWorldUnavailable)('inbound connections of a pod that bypasses the capture', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let client: WorldPod;
  let reader: FlowReader;
  const closed: UntouchedFlow[] = [];
  let agent: { stop: () => Promise<void> };

  const families = [
    { family: 'IPv4', of: (one: WorldPod) => one.ipv4 },
    { family: 'IPv6', of: (one: WorldPod) => one.ipv6 },
  ];

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = world.addPod('outsider');
    pod = await world.addEnrolledPod('pod', { listeners: false });
    agent = await world.startListeners(pod);
    await world.serve(pod, { ports: [8080, 15_008] });
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
  afterEach(() => pod.capture.bypassInbound(false));

  const dial = async (address: string, port = 8080) =>
    (await world.dial(client, { to: [address, port] })).answer;

  it.each(families)(
    'reach the application over $family from the moment in which it is wished, and no longer',
    async ({ of }) => {
      expect((await dial(of(pod)))?.who).toMatch(/^plaintext\//);
      const before = world.countOf(pod, reasons.INBOUND_BYPASSED);
      pod.capture.bypassInbound(true);
      expect(await dial(of(pod))).toMatchObject({ who: 'app', remote: { address: of(client) }, mark: 0 });
      expect(world.countOf(pod, reasons.INBOUND_BYPASSED)).toBe(before + 1);
      pod.capture.bypassInbound(false);
      expect((await dial(of(pod)))?.who).toMatch(/^plaintext\//);
      expect(world.countOf(pod, reasons.INBOUND_BYPASSED)).toBe(before + 1);
    },
  );

  it.each(families)('leave tunnels over $family to the agent', async ({ of }) => {
    pod.capture.bypassInbound(true);
    expect((await dial(of(pod), 15_008))?.who).toMatch(/^hbone\//);
  });

  it('are told as bypassed', async () => {
    pod.capture.bypassInbound(true);
    await dial(pod.ipv4);
    await expect
      .poll(() => {
        reader.flush();
        return closed.at(-1);
      })
      .toMatchObject({
        direction: 'inbound',
        path: 'untouched',
        reason: reasons.INBOUND_BYPASSED,
        sourceAddress: client.ipv4,
        destinationPort: 8080,
      });
  });

  it('reach the application while no agent runs, and the pod’s own are refused as ever', async () => {
    pod.capture.bypassInbound(true);
    await agent.stop();
    expect((await dial(pod.ipv4))?.who).toBe('app');
    expect(await world.dial(pod, { to: [client.ipv4, 8080] })).toMatchObject({ error: 'ECONNREFUSED' });
    pod.capture.bypassInbound(false);
    expect(await world.dial(client, { to: [pod.ipv4, 8080], timeout: 0.3 })).toMatchObject({
      connected: false,
    });
    agent = await world.startListeners(pod);
  });

  it('are what the next agent finds wished', async () => {
    pod.capture.bypassInbound(true);
    const { podIndex, netnsFd, netnsCookie, ipv4, ipv6 } = pod;
    const next = world.startCapture();
    const taken = next.attachPod({
      podIndex,
      netnsFd,
      netnsCookie,
      addresses: [ipv4, ipv6],
      listeners: { outbound: [], hbone: [], plaintext: [] },
    });
    expect((await dial(pod.ipv4))?.who).toBe('app');
    taken.captureOutbound();
    expect((await dial(pod.ipv4))?.who).toMatch(/^plaintext\//);
    taken.close();
    next.close();
  });
});
