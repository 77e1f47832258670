import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MARK, ROUTE_TABLE } from '../../src/kernel/constants.gen.ts';
import { reasons } from '../../src/model/reasons.gen.ts';
import { CaptureWorld, clusterRanges, type EnrolledPod } from '../helpers/capture-world.ts';
import { ip, podWorldUnavailable, type WorldPod } from '../helpers/pod-world.ts';

const marker = 'said-in-confidence';
const table = String(ROUTE_TABLE);
const rule = ['fwmark', `${MARK}/0xffff`, 'lookup', table, 'priority', '100'];

/** Nobody restores anything here: what the guard does, it does alone. */
describe.skipIf(podWorldUnavailable !== undefined)('while rules and routes of a pod are flushed', () => {
  let world: CaptureWorld;
  let pod: EnrolledPod;
  let server: WorldPod;
  let packets: Awaited<ReturnType<CaptureWorld['sniff']>>;
  let restore = () => {};

  beforeAll(async () => {
    world = await CaptureWorld.create();
    server = world.addPod('server');
    await world.serve(server, { ports: [8080] });
    pod = await world.addEnrolledPod('client');
    await world.serve(pod, { ports: [8080] });
    packets = await world.sniff(pod, marker);
  });
  afterAll(() => world?.dispose());
  afterEach(async () => {
    restore();
    await packets();
  });

  const families = [
    { family: 'IPv4', version: '-4', of: (one: WorldPod) => one.ipv4 },
    { family: 'IPv6', version: '-6', of: (one: WorldPod) => one.ipv6 },
  ];
  const losses = ['rule', 'routes'] as const;
  const cases = families.flatMap((one) => losses.map((what) => ({ ...one, what })));

  function flush(version: string, what: (typeof losses)[number], { netns } = pod): void {
    const run = (...args: string[]) => ip('-n', netns, version, ...args);
    const routes = run('route', 'show', 'table', table).trim().split('\n');
    if (what === 'rule') run('rule', 'del', ...rule);
    else run('route', 'flush', 'table', table);
    restore = () => {
      restore = () => {};
      if (what === 'rule') run('rule', 'add', ...rule);
      else for (const route of routes) run('route', 'add', ...route.trim().split(/\s+/), 'table', table);
      // As the agent does: a change of rules makes sockets look for their IPv6 routes again.
      for (const change of ['add', 'del']) run('rule', change, ...rule.with(-1, '101'));
    };
  }

  function restoreSoon(): void {
    setTimeout(() => restore(), 300);
  }

  /** Not by the clock: an emulated machine may take longer to send its first packet. */
  function restoreOnceStopped(): void {
    const before = world.countOf(pod, reasons.LEAK_STOPPED);
    const deadline = performance.now() + 5_000;
    const look = () => {
      if (world.countOf(pod, reasons.LEAK_STOPPED) > before || performance.now() > deadline) restore();
      else setTimeout(look, 20);
    };
    setTimeout(look, 100);
  }

  it('a sniffer of these tests sees the marker of a connection that is left alone', async () => {
    world.capture.setRanges({ pods: [], services: [], mesh: [] });
    for (const { of } of families) {
      await world.dial(pod, { to: [of(server), 8080], say: marker });
      expect((await packets()).marked).toBe(1);
    }
    world.capture.setRanges(clusterRanges);
  });

  it.each(cases)(
    'without $what a new connection over $family waits, and is captured as soon as they are back',
    async ({ version, what, of }) => {
      const before = world.countOf(pod, reasons.LEAK_STOPPED);
      flush(version, what);
      restoreOnceStopped();
      const result = await world.dial(pod, { to: [of(server), 8080], say: marker });
      expect(result.answer?.who).toMatch(/^outbound\//);
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
      expect(world.countOf(pod, reasons.LEAK_STOPPED)).toBeGreaterThan(before);
    },
  );

  it.each(cases)(
    'without $what an open connection over $family sends nothing out, and goes on when they are back',
    async ({ version, what, of }) => {
      // IPv6 looks for another route only when it has sent again a few times.
      const held = await world.dialAndHold(pod, { to: [of(server), 8080], patience: 10 });
      const before = world.countOf(pod, reasons.LEAK_STOPPED);
      flush(version, what);
      restoreOnceStopped();
      expect(await held.check()).toEqual({ alive: true });
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
      expect(world.countOf(pod, reasons.LEAK_STOPPED)).toBeGreaterThan(before);
    },
  );

  it.each(cases)(
    'without $what an application answers nobody but the agent over $family',
    async ({ version, what, of }) => {
      const held = await world.dialAndHold(pod, delivery(of), { asRoot: true });
      expect(held.result.answer?.who).toBe('app');
      flush(version, what);
      restoreSoon();
      expect(await held.check()).toEqual({ alive: true });
      expect(await packets()).toEqual({ count: 0, first: [], marked: 0 });
    },
  );

  /** As the agent delivers a connection of the server to the application in the pod. */
  function delivery(of: (one: WorldPod) => string) {
    return {
      to: [of(pod), 8080] as const,
      bind: [of(server), 0] as const,
      transparent: true,
      mark: MARK,
      device: 'lo',
      exempt: world.exemptPin,
      patience: 10,
    };
  }

  it.each(families)(
    'again and again, no client over $family says anything in clear',
    async ({ version, of }) => {
      const family = ['ip', '-n', pod.netns, version].join(' ');
      const again = `${family} rule add ${rule.join(' ')}; sleep 0.004; ${family} rule del ${rule.join(' ')}; sleep 0.004`;
      const flusher = spawn('sh', ['-c', `${family} rule del ${rule.join(' ')}; while :; do ${again}; done`]);
      const before = world.countOf(pod, reasons.LEAK_STOPPED);
      try {
        const dial = { to: [of(server), 8080] as const, say: marker, repeat: 40, timeout: 0.3 };
        const results = await Promise.all(Array.from({ length: 4 }, () => world.dialAll(pod, dial)));
        const whos = results.flat().flatMap(({ answer }) => answer?.who ?? []);
        expect(whos.length).toBeGreaterThan(10);
        expect(whos.filter((who) => !who.startsWith('outbound/'))).toEqual([]);
      } finally {
        await ended(flusher);
        ip('-n', pod.netns, version, 'rule', 'flush', 'priority', '100');
        ip('-n', pod.netns, version, 'rule', 'add', ...rule);
      }
      expect((await packets()).marked).toBe(0);
      expect(world.countOf(pod, reasons.LEAK_STOPPED)).toBeGreaterThan(before);
    },
  );

  it.each(families)(
    'a pod whose cgroup nobody told is guarded too, and marks of others are left alone over $family',
    async ({ family, version, of }) => {
      const untold = await world.addEnrolledPod(`untold${version}`, { toldCgroup: false });
      const sniffed = await world.sniff(untold);
      flush(version, 'rule', untold);
      const result = await world.dial(untold, { to: [of(server), 8080], timeout: 0.3 });
      restore();
      expect(result.connected, family).toBe(false);
      expect((await sniffed()).count).toBe(0);
      const others = await world.dial(server, { to: [of(pod), 8080], mark: MARK }, { asRoot: true });
      expect(others.answer?.who).toMatch(/^plaintext\//);
    },
  );

  it('after a crash of the agent, open connections still send nothing out', async () => {
    const held = await world.dialAndHold(pod, { to: [server.ipv4, 8080], patience: 10 });
    pod.capture.close();
    world.capture.close();
    flush('-4', 'rule');
    restoreSoon();
    expect(await held.check()).toEqual({ alive: true });
    expect((await packets()).count).toBe(0);
    world.capture = world.startCapture();
    pod = world.attach(pod, pod.podIndex);
    await world.startListeners(pod);
    expect((await world.dial(pod, { to: [server.ipv4, 8080] })).answer?.who).toMatch(/^outbound\//);
  });

  it('open connections of a pod that leaves the mesh send nothing out until the last has ended', async () => {
    const held = await world.dialAndHold(pod, { to: [server.ipv4, 8080], patience: 10 });
    pod.capture.leave();
    expect((await world.dial(pod, { to: [server.ipv4, 8080] })).answer?.who).toBe('app');
    expect((await packets()).count).toBeGreaterThan(0);
    // Its kernel still answers the other side's end.
    await expect.poll(async () => (await packets()).count, { interval: 200 }).toBe(0);
    flush('-4', 'rule');
    restoreSoon();
    expect(await held.check()).toEqual({ alive: true });
    expect(await packets()).toMatchObject({ count: 0 });
    pod.capture.detach();
    expect(world.capture.pinnedPods().some(({ podIndex }) => podIndex === pod.podIndex)).toBe(false);
    expect(
      world.capture.maps.map('pods').get(new Uint8Array(BigUint64Array.of(pod.netnsCookie).buffer)),
    ).toBe(undefined);
  });
});

async function ended(child: ReturnType<typeof spawn>): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
  // Its last command may still be at work.
  await sleep(50);
}
