import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Authorization } from '../../src/kernel/authorized-tuples.ts';
import { HEARTBEAT_ROWS } from '../../src/kernel/constants.gen.ts';
import { letIn } from '../../src/kernel/let-in.ts';
import { forgetAddresses } from '../../src/kernel/pinned-addresses.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { directSlot, endedAll, leadDirectly, notYetOpen, trackedOf } from '../helpers/direct-rows.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const service = '10.96.0.10';
const hand = { source: 41_300, server: 8080 };
/** Lets nobody in, and still tells of what the destination has accepted. */
const disowned = { sourcePodIndex: 0, acceptedCookie: expect.any(BigInt) };

/** What the kernel remembers of a direct connection says nothing of the next by the same addresses and ports. */
describe.skipIf(podWorldUnavailable !== undefined)('what is left of a direct connection', () => {
  let world: CaptureWorld;
  let client: EnrolledPod;
  let server: EnrolledPod;
  let listeners: { stop: () => Promise<void> };

  beforeAll(async () => {
    world = await CaptureWorld.create();
    client = await world.addEnrolledPod('client', { listeners: false });
    listeners = await world.startListeners(client);
    server = await world.addEnrolledPod('server');
    await world.serve(server, { ports: [8080], who: 'server' });
  });
  afterAll(() => world?.dispose());
  beforeEach(() => world.capture.dns.beat());
  afterEach(() => endedAll(world, client, [client, server]));

  const authorized = () => world.capture.maps.authorized;

  /** A pod with a direct connection to the server that it has begun, as its tuple in the kernel. */
  async function connected(name: string) {
    const source = await world.addEnrolledPod(name);
    leadDirectly(world, source, service, directSlot(server, server.ipv4));
    const held = await world.dialAndHold(source, { to: [service, 80] });
    const clientPort = held.result.local?.port ?? 0;
    const tuple = { client: source.ipv4, clientPort, server: server.ipv4, serverPort: 8080 };
    expect(authorized().get(tuple)).toMatchObject({ sourcePodIndex: source.podIndex });
    return { source, held, tuple };
  }

  it('lets nobody in by an address that its pod does not have any more', async () => {
    const { source, held, tuple } = await connected('former');
    source.capture.setAddresses([source.ipv6]);
    const syn = { from: [source.ipv4, hand.source], to: [server.ipv4, 8080] } as const;
    const entry = authorized().get(tuple);
    const forged = { ...tuple, clientPort: hand.source };
    authorized().set(forged, { ...(entry as NonNullable<typeof entry>), seen: 0 });
    const before = world.countOf(server, reasons.AUTHORIZED);
    const plaintext = world.countOf(server, reasons.CAPTURED_PLAINTEXT);
    await world.sendSyn(source, syn);
    expect(world.countOf(server, reasons.AUTHORIZED)).toBe(before);
    expect(world.countOf(server, reasons.CAPTURED_PLAINTEXT)).toBeGreaterThan(plaintext);
    expect(authorized().get(forged)?.seen).toBe(0);
    source.capture.setAddresses([source.ipv4, source.ipv6]);
    await world.sendSyn(source, syn);
    expect(world.countOf(server, reasons.AUTHORIZED)).toBeGreaterThan(before);
    authorized().delete(forged);
    expect(await held.check()).toEqual({ alive: true });
    await expect.poll(() => authorized().keys()).toEqual([]);
    source.capture.detach();
  });

  it('is forgotten with the pod at either end', async () => {
    const { source, held, tuple } = await connected('source');
    const towards = { ...tuple, client: server.ipv4, server: source.ipv4 };
    authorized().set(towards, {
      sourcePodIndex: server.podIndex,
      destinationPodIndex: source.podIndex,
      inboundEdge: 1,
      ...notYetOpen,
    });
    source.capture.detach();
    expect(authorized().entries()).toEqual([[tuple, expect.objectContaining(disowned)]]);
    expect(await held.check()).toEqual({ alive: true });
    await expect.poll(() => authorized().keys()).toEqual([]);
  });

  it('is forgotten with its address, also while no agent runs', async () => {
    const { source, held, tuple } = await connected('address');
    const options = { native: nativeAddon(), bpffs: world.bpffs, instance: 'test' };
    const only = () => authorized().entries();
    forgetAddresses(options, [client.ipv4]);
    expect(only()).toEqual([[tuple, expect.objectContaining({ sourcePodIndex: source.podIndex })]]);
    forgetAddresses(options, [source.ipv4]);
    expect(only()).toEqual([[tuple, expect.objectContaining(disowned)]]);
    expect(await held.check()).toEqual({ alive: true });
    await expect.poll(() => authorized().keys()).toEqual([]);
    source.capture.detach();
  });

  it('is swept where an agent’s own probe has left it, and nothing else is', async () => {
    const { source, held, tuple } = await connected('probing');
    const probe = { ...tuple, clientPort: hand.source };
    // Where there is no room for further edges a connection has none either.
    authorized().update(tuple, { ...(authorized().get(tuple) as Authorization), inboundEdge: 0 });
    letIn(world.capture.maps, probe, {
      sourcePodIndex: source.podIndex,
      destinationPodIndex: server.podIndex,
    });
    const [one, other] = [tuple, probe].map(({ clientPort }) => clientPort);
    const ports = () =>
      authorized()
        .keys()
        .map(({ clientPort }) => clientPort);
    expect(new Set(ports())).toEqual(new Set([one, other]));
    world.startCapture().close();
    expect(ports()).toEqual([one]);
    await held.check();
    await expect.poll(ports).toEqual([]);
    source.capture.detach();
  });

  it('does not take out what another pod has authorized since by the same tuple', async () => {
    const { source, held, tuple } = await connected('predecessor');
    const successor = {
      sourcePodIndex: client.podIndex,
      destinationPodIndex: server.podIndex,
      inboundEdge: 7,
      ...notYetOpen,
    };
    authorized().set(tuple, successor);
    await held.check();
    await expect.poll(() => trackedOf(world, source)).toBe(0);
    expect(authorized().get(tuple)).toEqual(successor);
    authorized().delete(tuple);
    source.capture.detach();
  });

  it('gives no byte to somebody else who answers with a SYN of his own, and leaves nothing behind', async () => {
    const gone = await world.addEnrolledPod('gone', { listeners: false });
    leadDirectly(world, client, service, directSlot(gone, gone.ipv4));
    gone.capture.close();
    world.removePod(gone);
    const reused = world.addPod('reused', gone);
    const heard = await world.crossSyns(reused, 8080);
    const before = world.countOf(client, reasons.DESTINATION_NOT_SEEN);
    const result = await world.dial(client, { to: [service, 80], say: 'secret', timeout: 2 });
    expect(await heard()).toMatchObject({ crossed: true, acknowledged: true, heard: '' });
    expect(result.answer).toBeUndefined();
    expect(world.countOf(client, reasons.DESTINATION_NOT_SEEN)).toBe(before + 1);
  });

  it('returns no place among its pod’s connections that it did not take', async () => {
    leadDirectly(world, client, service, directSlot(server, server.ipv4));
    client.capture.captureOutbound({ flowLimit: 2 });
    const held = await world.dialAndHold(client, { to: [service, 80] });
    const again = world.hand(client);
    await again.do('connect', { name: 'one', to: [service, 80] });
    expect(trackedOf(world, client)).toBe(2);
    client.capture.captureOutbound({ flowLimit: 1 });
    const before = world.countOf(client, reasons.DIRECT_QUOTA);
    expect(await again.do('reconnect', { name: 'one', to: [service, 80] })).toMatchObject({ ok: true });
    expect(world.countOf(client, reasons.DIRECT_QUOTA)).toBe(before + 1);
    await again.stop();
    await expect.poll(() => world.capture.maps.authorized.keys()).toHaveLength(1);
    expect(trackedOf(world, client)).toBe(1);
    client.capture.captureOutbound();
    await held.check();
  });

  it('makes nobody wait for minutes when it may not go directly and no agent is there', async () => {
    leadDirectly(world, client, service, directSlot(server, server.ipv4));
    client.capture.captureOutbound({ flowLimit: 0 });
    const at = new Uint8Array(BigUint64Array.of(process.hrtime.bigint() - 10_000_000_000n).buffer);
    const key = new Uint8Array(Uint32Array.of(HEARTBEAT_ROWS).buffer);
    world.capture.maps.map('agent_heartbeat').set(key, at);
    await listeners.stop();
    const result = await world.dial(client, { to: [service, 80], timeout: 20 });
    listeners = await world.startListeners(client);
    client.capture.captureOutbound();
    expect(result).toMatchObject({ connected: false, error: 'ETIMEDOUT' });
  });
});
