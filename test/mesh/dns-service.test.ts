/** Names of several pods at once: what one of them does to the agent and to the others. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DropReason } from '../../src/dns/dns-counters.ts';
import { createService } from '../../src/model/service.ts';
import { createSnapshot } from '../../src/model/snapshot.ts';
import type { EnrolledPod } from '../helpers/capture-world.ts';
import { DnsWorld, digMissing } from '../helpers/dns-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const programs = fileURLToPath(new URL('../helpers/programs', import.meta.url));
const catalog = 'catalog.shop.svc.cluster.local';

interface Load {
  readonly sent: number;
  readonly answered: number;
  readonly refused: number;
  readonly p50: number;
  readonly p99: number;
}

describe.skipIf(podWorldUnavailable !== undefined || digMissing !== undefined)('the names of pods', () => {
  let world: DnsWorld;
  let other: EnrolledPod;
  let program: string;

  beforeAll(async () => {
    world = await DnsWorld.create();
    program = join(world.directory, 'ask-load');
    execFileSync('gcc', ['-O2', '-o', program, join(programs, 'ask_load.c')]);
    other = await world.world.addEnrolledPod('other');
    world.resolvers.add(world.pod({}, other));
    const { workloads, services } = world.snapshot;
    const wild = createService({
      name: 'wild',
      namespace: 'shop',
      hostname: '*.wild.example',
      addresses: [{ network: '', address: '240.240.0.2', length: undefined }],
    });
    world.snapshot = createSnapshot({
      workloads: [...workloads.values()],
      services: [...services.values(), wild],
      policies: [],
    });
    for (const pod of [world.client, other])
      world.world.capture.dns.configure(pod.podIndex, [world.nameserver.address]);
    await sleep(1_200);
  });
  afterAll(() => world?.dispose());

  /** `distinct` names, each asked in turn; 0: one alone. Without a rate as fast as it goes. */
  async function load(pod: EnrolledPod, name: string, seconds: number, rate: number, distinct = 0) {
    const text = await world.run(
      [program, world.nameserver.address, name, seconds, rate, distinct].map(String),
      { pod, asRoot: true },
    );
    return JSON.parse(text) as Load;
  }

  function dropped(reason: DropReason): number {
    const { drops } = world.resolvers.report();
    return drops
      .flatMap(({ byReason }) => byReason)
      .reduce((sum, [why, n]) => sum + (why === reason ? n : 0), 0);
  }
  const decisionSeconds = () => world.resolvers.report().decisionSeconds;
  const requests = () => world.resolvers.report().counts.reduce((sum, { requests }) => sum + requests, 0);

  it('that one pod asks without end cost a bounded share of the main thread, and others are answered', async () => {
    const [before, droppedBefore] = [decisionSeconds(), dropped('over_share')];
    const started = performance.now();
    const [flood, known, unknown] = await Promise.all([
      load(world.client, 'wild.example', 2, 0, 1_000_000_000),
      load(other, catalog, 2, 50),
      load(other, 'wild.example', 2, 20, 1_000_000_000),
    ]);
    const seconds = (performance.now() - started) / 1000;
    expect(flood.sent).toBeGreaterThan(5_000);
    expect(flood.answered).toBeGreaterThan(20);
    expect(decisionSeconds() - before).toBeLessThan(0.3 * seconds);
    expect(dropped('over_share')).toBeGreaterThan(droppedBefore + 1_000);
    // None of them waited behind the flood, which has sixty-four in front at any time.
    expect(known).toMatchObject({ answered: known.sent, refused: 0 });
    expect(unknown).toMatchObject({ answered: unknown.sent, refused: 0 });
  });

  it('that were asked before cost the main thread nothing, and are counted', async () => {
    await load(other, catalog, 0.1, 20);
    // What an earlier flood left waiting is answered first.
    for (let last = -1; last !== requests(); await sleep(250)) last = requests();
    const [before, countedBefore] = [decisionSeconds(), requests()];
    const { sent, answered } = await load(other, catalog, 1, 500);
    expect(answered).toBe(sent);
    expect(requests() - countedBefore).toBe(sent);
    expect(decisionSeconds() - before).toBeLessThan(0.005);
  });

  it('mean what the newest mesh state says', async () => {
    const whole = world.snapshot;
    // Its cookies would make each query another one.
    const ask = () => world.dig('+nocookie', catalog);
    expect(await ask()).toEqual(['10.96.0.10']);
    const before = decisionSeconds();
    expect(await ask()).toEqual(['10.96.0.10']);
    expect(decisionSeconds()).toBe(before);
    const services = [...whole.services.values()].map((service) =>
      service.hostname === catalog
        ? { ...service, addresses: [{ network: '', address: '10.96.0.99', length: undefined }] }
        : service,
    );
    world.snapshot = createSnapshot({ workloads: [...whole.workloads.values()], services, policies: [] });
    world.resolvers.onSnapshot();
    try {
      expect(await ask()).toEqual(['10.96.0.99']);
    } finally {
      world.snapshot = whole;
      world.resolvers.onSnapshot();
    }
  });

  describe('of a pod that the mesh does not know yet', () => {
    const unknown = (whole: DnsWorld['snapshot']) =>
      createSnapshot({
        workloads: [...whole.workloads.values()].filter(({ uid }) => uid !== 'client'),
        services: [...whole.services.values()],
        policies: [],
      });

    it('wait for the mesh state that knows it, and no longer', async () => {
      const whole = world.snapshot;
      world.snapshot = unknown(whole);
      world.resolvers.onSnapshot();
      const answers = Promise.all([
        world.dig(catalog),
        world.dig('AAAA', catalog),
        world.dig('+tcp', catalog),
      ]);
      await sleep(600);
      world.snapshot = whole;
      const told = performance.now();
      world.resolvers.onSnapshot();
      expect(await answers).toEqual([['10.96.0.10'], ['fd96::10'], ['10.96.0.10']]);
      expect(performance.now() - told).toBeLessThan(900);
    });

    it('are refused after two seconds, and at once when too many wait', async () => {
      const whole = world.snapshot;
      world.snapshot = unknown(whole);
      world.resolvers.onSnapshot();
      try {
        const flood = await load(world.client, 'wild.example', 2.5, 200, 1_000_000_000);
        expect(flood.answered).toBe(flood.refused);
        // Sixty-four had to wait, the others not.
        expect(flood.answered).toBeGreaterThan(flood.sent - 80);
        expect(flood.p50).toBeLessThan(1_000_000);
        expect(flood.p99).toBeGreaterThan(1_900_000);
      } finally {
        world.snapshot = whole;
        world.resolvers.onSnapshot();
      }
    });
  });

  it('that are not there of one kind are denied with a SOA that says for how long', async () => {
    const text = await world.run([
      'dig',
      'AAAA',
      'api.payments.example',
      '+noall',
      '+comments',
      '+authority',
    ]);
    expect(text).toContain('status: NOERROR');
    expect(text).toMatch(/api\.payments\.example\.\s+30\s+IN\s+SOA\s.*\s30\n/);
    expect(text).toMatch(/EDNS: version: 0, flags:; udp: 1232/);
  });

  it.skipIf(!existsSync('/dev/fuse'))(
    'follow the default of Kubernetes, or what was known, where resolv.conf never answers',
    async () => {
      const child = spawn('/usr/bin/python3', [join(programs, 'odd_file.py'), other.cgroup, 'silent'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const ended = new Promise((resolve) => child.once('close', resolve));
      try {
        world.resolvers.add(world.pod({}, other));
        await expect
          .poll(() => world.resolvers.problemOf(other.podIndex), { timeout: 15_000 })
          .toContain('the default of Kubernetes counts: ');
        expect(world.resolvers.report().unreadable).toBe(1);
        expect(await world.run(['dig', '+short', '+search', 'catalog'], { pod: other })).toBe('10.96.0.10\n');
      } finally {
        child.stdin.end();
        await ended;
      }
    },
  );
});
