/**
 * Machines inside a pod (annotation istio.io/reroute-virtual-interfaces): their TCP is the pod's own, whatever somebody does to
 * rules, routes and filters of the pod's namespace; all else is forwarded as before.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MARK, MARK_MASK, ROUTE_TABLE, RULE_PRIORITY, VIRTUAL_MARK } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import type { NetnsChange, NetnsWatch, VirtualInterfaceState } from '../../src/native/types.ts';
import { CaptureWorld, type EnrolledPod } from '../helpers/capture-world.ts';
import { ip, podWorldUnavailable, setSysctl, type WorldPod } from '../helpers/pod-world.ts';

const routing = { mark: MARK, mask: MARK_MASK, table: ROUTE_TABLE, priority: RULE_PRIORITY };
const marker = 'hadal-in-clear';

describe.skipIf(podWorldUnavailable)('a machine inside a pod', () => {
  const addon = nativeAddon();
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let machine: WorldPod;
  let server: WorldPod;
  let watch: NetnsWatch | undefined;
  let states: readonly VirtualInterfaceState[] = [];
  const restored: string[] = [];
  let packets: Awaited<ReturnType<CaptureWorld['sniff']>>;
  let agent: { stop: () => Promise<void> };

  const families = [
    { family: 'IPv4', version: '-4', of: (one: WorldPod) => one.ipv4 },
    { family: 'IPv6', version: '-6', of: (one: WorldPod) => one.ipv6 },
  ];

  beforeAll(async () => {
    world = await CaptureWorld.create();
    server = world.addPod('server');
    await world.serve(server, { ports: [8080] });
    pod = world.attach(world.addPod('pod'));
    agent = await world.startListeners(pod);
    await world.serve(pod, { ports: [9090] });
    machine = world.addMachine(pod, 'machine', 'tap0');
    await world.serve(machine, { ports: [7070], who: 'machine' });
    packets = await world.sniff(pod, marker);
  });
  afterAll(() => world?.dispose());
  beforeEach(() => {
    restored.length = 0;
    watch = addon.watchNetns(pod.netnsFd, routing, onChange);
    pod.capture.setAddresses(addon.addresses(pod.netnsFd).map(({ address }) => address));
    pod.capture.captureOutbound();
  });
  afterEach(async () => {
    watch?.close();
    watch = undefined;
    addon.removeCaptureRouting(pod.netnsFd, routing);
    await packets();
  });

  function onChange(change: NetnsChange): void {
    if (change.kind === 'interfaces') follow(change.interfaces);
    if (change.kind === 'restored') restored.push(change.detail);
  }
  function follow(next: readonly VirtualInterfaceState[]): void {
    states = next;
    const captured = next.filter(({ standing }) => standing === 'captured');
    pod.capture.setVirtualInterfaces(captured.map(({ index }) => index));
  }

  /** As enrolment does. */
  function capture(...names: string[]): void {
    const programs = pod.capture.openVirtualPrograms();
    const { fromMachine, toMachine, refuse } = programs;
    const wanted = { names, mark: VIRTUAL_MARK, fromMachine, toMachine, refuse };
    watch?.captureInterfaces(wanted);
    follow(addon.captureInterfaces(pod.netnsFd, routing, wanted));
    programs.close();
  }

  const inPod = (...args: string[]) => ip('-n', pod.netns, ...args);
  const dial = (address: string, port = 8080) =>
    world.dial(machine, { to: [address, port], say: marker, timeout: 2 });

  it.each(families)('is forwarded in clear over $family while nobody names its interface', async ({ of }) => {
    expect((await dial(of(server))).answer).toMatchObject({ who: 'app', remote: { address: of(machine) } });
    let seen = 0;
    const marked = async () => {
      seen += (await packets()).marked ?? 0;
      return seen;
    };
    await expect.poll(marked).toBe(1);
  });

  it.each(families)(
    'reaches the outbound listener over $family, and nothing of it the wire',
    async ({ of }) => {
      capture('tap0');
      expect(states).toEqual([expect.objectContaining({ name: 'tap0', standing: 'captured' })]);
      const before = world.countOf(pod, reasons.CAPTURED_VIRTUAL);
      const { answer } = await world.dial(machine, { to: [of(server), 8080], say: marker, bytes: 3_000_000 });
      expect(answer).toMatchObject({
        who: expect.stringMatching(/^outbound\//),
        local: { address: of(server), port: 8080 },
        remote: { address: of(machine) },
      });
      expect(world.countOf(pod, reasons.CAPTURED_VIRTUAL)).toBe(before + 1);
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
    },
  );

  it.each(families)('is captured over $family also with a strict reverse path filter', async ({ of }) => {
    for (const name of ['all', 'tap0']) setSysctl(pod.netns, `net/ipv4/conf/${name}/rp_filter`, '1');
    capture('tap0');
    expect((await dial(of(server))).answer?.who).toMatch(/^outbound\//);
    for (const name of ['all', 'tap0']) setSysctl(pod.netns, `net/ipv4/conf/${name}/rp_filter`, '0');
  });

  it.each(families)(
    'is captured over $family when every connection is made by SYN cookies',
    async ({ of }) => {
      setSysctl(pod.netns, 'net/ipv4/tcp_syncookies', '2');
      capture('tap0');
      const result = await world.dial(machine, { to: [of(server), 8080], bytes: 100_000 });
      expect(result).toMatchObject({
        answer: { who: expect.stringMatching(/^outbound\//) },
        received: 100_000,
      });
      setSysctl(pod.netns, 'net/ipv4/tcp_syncookies', '1');
    },
  );

  it.each(families)('answers who connects to it over $family, as before', async ({ of }) => {
    capture('tap0');
    const result = await world.dial(server, { to: [of(machine), 7070], bytes: 100_000 });
    expect(result).toMatchObject({ answer: { who: 'machine' }, received: 100_000 });
  });

  it.each(families)('calls the pod itself over $family as the pod’s own processes do', async ({ of }) => {
    capture('tap0');
    expect((await dial(of(pod), 9090)).answer).toMatchObject({ who: 'app', mark: 0 });
    expect(await dial(of(pod), 9091)).toMatchObject({ error: 'ECONNREFUSED' });
    pod.capture.setVirtualInterfaces([]);
    expect((await dial(of(pod), 9090)).answer?.who).toMatch(/^plaintext\//);
  });

  it.each(families)('sends UDP over $family as before', async ({ family, of }) => {
    capture('tap0');
    const version = family === 'IPv4' ? '4' : '6';
    const listen = `import socket; s = socket.socket(socket.AF_INET${version === '4' ? '' : '6'}, socket.SOCK_DGRAM); s.bind(('', 5353)); print('ready', flush=True); d, a = s.recvfrom(99); s.sendto(a[0].encode(), a)`;
    const ask = `import socket; s = socket.socket(socket.AF_INET${version === '4' ? '' : '6'}, socket.SOCK_DGRAM); s.settimeout(3); s.sendto(b'x', ('${of(server)}', 5353)); print(s.recv(99).decode())`;
    const python = (one: WorldPod, program: string) =>
      spawn('nsenter', [`--net=/run/netns/${one.netns}`, 'python3', '-c', program]);
    const listener = python(server, listen);
    await new Promise((resolve) => listener.stdout.once('data', resolve));
    const asker = python(machine, ask);
    const told = await new Promise<string>((resolve) =>
      asker.stdout.once('data', (bytes) => resolve(String(bytes).trim())),
    );
    expect(told).toBe(of(machine));
  });

  describe.each(families)('over $family', ({ version, of }) => {
    it.each([
      ['the rule of its interface', ['rule', 'del', 'iif', 'tap0'], /rule of tap0/],
      ['the routes', ['route', 'flush', 'table', String(ROUTE_TABLE)], /route of lo/],
    ])('sends nothing in clear while %s is gone', async (_what, command, detail) => {
      capture('tap0');
      watch?.close();
      watch = undefined;
      inPod(version, ...command);
      expect(await world.dial(machine, { to: [of(server), 8080], say: marker, timeout: 0.4 })).toMatchObject({
        connected: false,
      });
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
      // The agent's guard brings back what is lost.
      watch = addon.watchNetns(pod.netnsFd, routing, onChange);
      capture('tap0');
      await sleep(100);
      inPod(version, ...command);
      await expect.poll(() => restored).toContainEqual(expect.stringMatching(detail));
      expect((await dial(of(server))).answer?.who).toMatch(/^outbound\//);
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
    });
  });

  it('is captured again when somebody took the filters away', async () => {
    capture('tap0');
    await sleep(100);
    await run(pod.netns, 'tc', 'qdisc', 'del', 'dev', 'tap0', 'clsact');
    await expect.poll(() => restored).toContainEqual(expect.stringMatching(/filter from tap0/));
    expect((await dial(server.ipv4)).answer?.who).toMatch(/^outbound\//);
  });

  it.each(families)(
    'has its connection over $family reset that got out while the filters were gone',
    async ({ of }) => {
      capture('tap0');
      watch?.close();
      watch = undefined;
      await run(pod.netns, 'tc', 'qdisc', 'del', 'dev', 'tap0', 'clsact');
      const held = await world.dialAndHold(machine, { to: [of(server), 8080] });
      expect(held.result.answer?.who).toBe('app');
      capture('tap0');
      expect(await held.check()).toEqual({ alive: false, error: 'ECONNRESET' });
    },
  );

  it('has no way out while no agent runs, and its connections are back with the agent', async () => {
    capture('tap0');
    await agent.stop();
    for (const { of } of families)
      expect(await world.dial(machine, { to: [of(server), 8080], timeout: 0.3 })).toMatchObject({
        connected: false,
      });
    expect((await packets()).count).toBe(0);
    agent = await world.startListeners(pod);
    expect((await dial(server.ipv6)).answer?.who).toMatch(/^outbound\//);
  });

  it('is captured from its first packet when its interface appears later', async () => {
    capture('tap0', 'tap1');
    expect(states).toContainEqual({ name: 'tap1', index: 0, standing: 'missing', problem: '' });
    const late = world.addMachine(pod, 'late', 'tap1');
    const results = await world.dialAll(late, {
      to: [server.ipv4, 8080],
      say: marker,
      repeat: 3,
      timeout: 3,
    });
    expect(results.map(({ answer }) => answer?.who)).toEqual(
      Array(3).fill(expect.stringMatching(/^outbound\//)),
    );
    expect((await packets()).marked).toBe(0);
    await expect.poll(() => states.map(({ standing }) => standing)).toEqual(['captured', 'captured']);
    expect(inPod('rule')).not.toContain('blackhole');
    expect(restored).toEqual([]);
    inPod('link', 'del', 'tap1');
    await expect.poll(() => states.map(({ standing }) => standing)).toEqual(['captured', 'missing']);
    expect(inPod('rule')).toContain('iif tap1');
  });

  it('is held back where its interface is not there yet, should no program come', async () => {
    capture('tap2');
    watch?.close();
    watch = undefined;
    const held = world.addMachine(pod, 'held', 'tap2');
    for (const { of } of families)
      expect(await world.dial(held, { to: [of(server), 8080], timeout: 0.3 })).toMatchObject({
        connected: false,
      });
    expect((await packets()).count).toBe(0);
    inPod('link', 'del', 'tap2');
  });

  it('is refused TCP behind a port of a bridge, and captured behind the bridge', async () => {
    const bridged = world.addMachine(pod, 'bridged', 'port0');
    for (const command of [
      'link add br1 type bridge',
      'link set br1 up',
      'addr flush dev port0',
      'link set port0 master br1',
      `addr add ${bridged.ipv4.replace(/2$/, '1')}/24 dev br1`,
    ])
      inPod(...command.split(' '));
    capture('port0');
    expect(states).toEqual([expect.objectContaining({ name: 'port0', standing: 'port' })]);
    const before = world.countOf(pod, reasons.VIRTUAL_NOT_CAPTURED);
    const to = [server.ipv4, 8080] as const;
    expect(await world.dial(bridged, { to, timeout: 0.3 })).toMatchObject({ connected: false });
    expect(world.countOf(pod, reasons.VIRTUAL_NOT_CAPTURED)).toBeGreaterThan(before);
    expect((await packets()).count).toBe(0);
    capture('br1');
    expect((await world.dial(bridged, { to })).answer?.who).toMatch(/^outbound\//);
    inPod('link', 'del', 'br1');
    inPod('link', 'del', 'port0');
  });

  it('does not come by the interface that leads out of the pod, whoever names that', async () => {
    capture('eth0', 'tap0');
    expect(states).toEqual([
      expect.objectContaining({ name: 'eth0', standing: 'uplink' }),
      expect.objectContaining({ name: 'tap0', standing: 'captured' }),
    ]);
    const { answer } = await world.dial(server, { to: [pod.ipv4, 9090] });
    expect(answer?.who).toMatch(/^plaintext\//);
    expect(await run(pod.netns, 'tc', 'filter', 'show', 'dev', 'eth0', 'ingress')).toBe('');
    expect(inPod('rule')).not.toContain('iif eth0');
  });

  it('is forwarded again, and leaves nothing behind, when its interface is not named any more', async () => {
    await expect.poll(() => inPod('rule')).toContain('fwmark');
    const clean = [inPod('rule'), inPod('-6', 'rule')];
    capture('tap0', 'tap9');
    expect(inPod('rule')).not.toBe(clean[0]);
    watch?.captureInterfaces({ names: [], mark: VIRTUAL_MARK });
    addon.captureInterfaces(pod.netnsFd, routing, { names: [], mark: VIRTUAL_MARK });
    pod.capture.setVirtualInterfaces([]);
    // The watch may have been about to capture them.
    await expect.poll(() => [inPod('rule'), inPod('-6', 'rule')]).toEqual(clean);
    for (const side of ['ingress', 'egress'])
      await expect.poll(() => run(pod.netns, 'tc', 'filter', 'show', 'dev', 'tap0', side)).toBe('');
    expect((await dial(server.ipv4)).answer?.who).toBe('app');
    capture('tap0', 'tap9');
    watch?.close();
    watch = undefined;
    addon.removeCaptureRouting(pod.netnsFd, routing);
    expect(
      [inPod('rule'), inPod('-6', 'rule')].filter((rules) => /blackhole|fwmark|iif tap/.test(rules)),
    ).toEqual([]);
    expect(await run(pod.netns, 'tc', 'filter', 'show', 'dev', 'tap0', 'ingress')).toBe('');
  });
});

function run(netns: string, ...command: string[]): Promise<string> {
  const child = spawn('nsenter', [`--net=/run/netns/${netns}`, ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (bytes) => {
    out += bytes;
  });
  return new Promise((resolve) => child.on('close', () => resolve(out)));
}
