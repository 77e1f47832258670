/** What names cost the agent's main thread, and what a pod that floods costs others. Prints the numbers of docs/dns.md. */
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createService } from '../../src/model/service.ts';
import { createSnapshot } from '../../src/model/snapshot.ts';
import type { EnrolledPod } from '../helpers/capture-world.ts';
import { DnsWorld } from '../helpers/dns-world.ts';
import { podWorldUnavailable } from '../helpers/pod-world.ts';

const source = fileURLToPath(new URL('../helpers/programs/ask_load.c', import.meta.url));
const catalog = 'catalog.shop.svc.cluster.local';
const isLong = process.env.HADAL_LONG === '1';

interface Load {
  readonly sent: number;
  readonly answered: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

describe.skipIf(podWorldUnavailable !== undefined || !isLong)('names under load', () => {
  let world: DnsWorld;
  let other: EnrolledPod;
  let program: string;

  beforeAll(async () => {
    world = await DnsWorld.create();
    program = join(world.directory, 'ask-load');
    execFileSync('gcc', ['-O2', '-o', program, source]);
    other = await world.world.addEnrolledPod('other');
    const { podIndex, netnsFd, cgroup, ipv4, ipv6, capture } = other;
    world.resolvers.add(
      world.pod({
        podIndex,
        netnsFd,
        cgroup,
        addresses: [ipv4, ipv6],
        captureDns: (wanted) => capture.captureDns(wanted),
      }),
    );
    for (const pod of [world.client, other])
      world.world.capture.dns.configure(pod.podIndex, [world.nameserver.address]);
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
    await new Promise((resolve) => setTimeout(resolve, 1_500));
  }, 60_000);
  afterAll(() => world?.dispose());

  async function load(
    pod: EnrolledPod,
    name: string,
    seconds: number,
    rate: number,
    distinct = 0,
  ): Promise<Load> {
    const script =
      'echo $$ > "$1/cgroup.procs"; exec nsenter --net="/run/netns/$2" "$3" "$4" "$5" "$6" "$7" "$8"';
    const args = [pod.cgroup, pod.netns, program, world.nameserver.address, name, seconds, rate, distinct];
    const child = spawn('/bin/sh', ['-c', script, 'sh', ...args.map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString();
    });
    await new Promise((resolve) => child.once('close', resolve));
    return JSON.parse(text) as Load;
  }

  const cases = [
    { name: 'one name, again and again', asked: catalog, distinct: 0 },
    { name: 'ever other names of the mesh', asked: 'wild.example', distinct: 1_000_000_000 },
  ];

  it.each(cases)(
    '$name: cost, and what another pod notices',
    { timeout: 120_000 },
    async ({ name, asked, distinct }) => {
      await load(other, catalog, 1, 20);
      const quiet = await load(other, catalog, 3, 100);
      const before = performance.eventLoopUtilization();
      const [flood, hot, cold] = await Promise.all([
        load(world.client, asked, 5, 0, distinct),
        load(other, catalog, 5, 100),
        load(other, 'wild.example', 5, 20, 1_000_000),
      ]);
      const { active, utilization } = performance.eventLoopUtilization(before);
      const answered = flood.answered + hot.answered + cold.answered;
      console.log(
        JSON.stringify({
          name,
          answeredPerSecond: Math.round(flood.answered / 5),
          mainThread: Number(utilization.toFixed(3)),
          mainThreadMicrosecondsPerAnswer: Number(((active * 1000) / answered).toFixed(2)),
          quiet,
          flood,
          hot,
          cold,
        }),
      );
      expect(utilization).toBeLessThan(0.4);
      expect(hot.answered).toBe(hot.sent);
    },
  );
});
