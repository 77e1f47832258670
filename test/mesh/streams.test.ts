/**
 * Streams of random pieces, written and read in every way that applications have, over each path that Hadal has: no byte
 * out of place, and memory bounded. Short in `npm test`, 1 GB over each path with HADAL_LONG=1.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pins } from '../../src/kernel/pins.ts';
import { readTurboCounts } from '../../src/kernel/turbo.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { residentBytes, sectionOf, sumOf } from './observe.ts';
import {
  faultsOf,
  receivedBytes,
  StreamProcess,
  StreamProgram,
  type StreamReport,
  streamModes,
} from './stream-ends.ts';
import { describeInLab, namespace, pod } from './world.ts';

const long = process.env.HADAL_LONG === '1';
const mebibyte = 1024 ** 2;
/** For each direction. */
const bytes = long ? 1024 * mebibyte : 48 * mebibyte;
const modes = streamModes.length;
const firstPort = 9100;
/** What is taken of a client whose server does not read: buffers of sockets, and a window where a tunnel is between. */
const mostHeldBack = 64 * mebibyte;
/** All sockets together: what the kernel's own limits for one socket let them hold is several times this. */
const mostTcp = 512 * mebibyte;
const mostSlab = 256 * mebibyte;

let program: StreamProgram;
beforeAll(() => {
  program = new StreamProgram();
});
afterAll(() => {
  program.remove();
});

describe('the program that looks at streams', () => {
  const port = 9400 + (process.pid % 500) * 40;

  async function throughRelay(fault: string, place: number): Promise<string[]> {
    const run = (...args: (string | number)[]) => new StreamProcess(spawn(program.path, args.map(String)));
    const server = run('server', port, 7, 16 * mebibyte, 'random');
    await server.listening;
    const relay = run('relay', port + 30, port, fault, place);
    await relay.listening;
    const client = run('client', '::1', port + 30, 7, 16 * mebibyte, 'random');
    return faultsOf(await client.report, await server.report);
  }

  // Doubled, the byte itself is right where it was.
  it.each([
    { fault: 'swap', seen: 0 },
    { fault: 'drop', seen: 0 },
    { fault: 'double', seen: 1 },
    { fault: 'change', seen: 0 },
    { fault: 'cut', seen: 0 },
  ])('sees where a relay did this to one byte: $fault', async ({ fault, seen }) => {
    const place = 700_000 + fault.length;
    expect(await throughRelay(fault, place)).toContainEqual(
      `random, seed 7: the server has something else at ${place + seen} of 1572864`,
    );
  });

  it('finds nothing behind a relay that spoils nothing', async () => {
    expect(await throughRelay('change', 2 ** 40)).toEqual([]);
  });
});

interface MemoryUse {
  /** Of the agents. */
  resident: number;
  /** All sockets' buffers and the kernel's own objects, on this machine. */
  tcp: number;
  slab: number;
}

interface Path {
  readonly path: string;
  readonly client: string;
  readonly server: string;
  readonly nodes: readonly string[];
  readonly security: 'mutual_tls' | 'node_local';
  /** What the kernel does less for; docs/turbo.md says who must not ask. */
  readonly without?: readonly (typeof streamModes)[number][];
  readonly mayNotWait?: boolean;
  /** Of all bytes, in the short form: past TCP an answer brings no ACK along, so pieces that then go by TCP wait for one. */
  readonly share?: number;
}

const paths: readonly Path[] = [
  {
    path: 'the tunnel between nodes',
    client: 'client',
    server: 'far',
    nodes: ['a', 'b'],
    security: 'mutual_tls',
  },
  {
    path: 'the tunnel within a node',
    client: 'client',
    server: 'near-by-tunnel',
    nodes: ['a'],
    security: 'mutual_tls',
  },
  { path: 'the direct path', client: 'client', server: 'near', nodes: ['a'], security: 'node_local' },
  {
    path: 'turbo',
    client: 'quick-client',
    server: 'quick',
    nodes: ['a'],
    security: 'node_local',
    without: ['waitall', 'splice', 'client-leaves'],
    mayNotWait: true,
    share: long ? 1 : 1 / 16,
  },
];

const quick = { annotations: { 'hadal.io/turbo': 'enabled' } };

describeInLab(
  'streams over',
  {
    agentEnv: { HADAL_TURBO: 'true' },
    manifests: [
      namespace('t', { mesh: true }),
      pod('t/client', 'a'),
      pod('t/far', 'b'),
      pod('t/near-by-tunnel', 'a', { labels: { 'hadal.io/same-node': 'tunnel' } }),
      pod('t/near', 'a'),
      pod('t/quick-client', 'a', quick),
      pod('t/quick', 'a', quick),
    ],
  },
  (world) => {
    function memoryUse(): MemoryUse {
      const ofFile = (file: string, pattern: RegExp) => Number(pattern.exec(readFileSync(file, 'utf8'))?.[1]);
      return {
        resident: ['a', 'b'].reduce((sum, node) => sum + residentBytes(world.lab, node), 0),
        tcp: ofFile('/proc/net/sockstat', /^TCP: .* mem (\d+)/m) * 4096,
        slab: ofFile('/proc/meminfo', /^SUnreclaim:\s+(\d+)/m) * 1024,
      };
    }

    async function grownDuring(work: Promise<unknown>): Promise<MemoryUse> {
      const before = memoryUse();
      const grown: MemoryUse = { resident: 0, tcp: 0, slab: 0 };
      let over = false;
      const ended = work.finally(() => {
        over = true;
      });
      while (!over) {
        const now = memoryUse();
        for (const key of ['resident', 'tcp', 'slab'] as const)
          grown[key] = Math.max(grown[key], now[key] - before[key]);
        await sleep(100);
      }
      await ended;
      return grown;
    }

    function sentPastTcp(): number {
      const pins = new Pins(join(world.lab.directory, 'bpf'), 'a');
      const map = nativeAddon().openPinnedMap(pins.map('turbo_counts'));
      try {
        return readTurboCounts(map).redirected;
      } finally {
        map.close();
      }
    }

    /** Connections of a pair and port that nobody asked for before go through the agent: they are the question. */
    async function knock({ client, server, security }: Path): Promise<void> {
      const { lab } = world;
      const directRows = async () => {
        const { kernelDirect } = await sectionOf<{ kernelDirect: number }>(lab, 'a', 'decisions');
        return kernelDirect;
      };
      const before = await directRows();
      const addresses = lab.pod(server).addresses.join();
      await lab.pod(client).exec([program.pathInPods, 'knock', addresses, String(firstPort)]);
      if (security === 'node_local')
        await expect.poll(directRows, { timeout: 5000 }).toBe(before + streamModes.length);
    }

    async function streamsOver(
      { client, server, without = [], share = 1 }: Path,
      seed: number,
    ): Promise<[StreamReport, StreamReport]> {
      const { lab } = world;
      const target = lab.pod(server);
      const wanted = streamModes.filter((mode) => !without.includes(mode));
      const start = (name: string, ...args: (string | number)[]) =>
        new StreamProcess(lab.pod(name).spawn([program.pathInPods, ...args.map(String), ...wanted]));
      const listening = start(server, 'server', firstPort, seed, bytes * share);
      await listening.listening;
      const dialling = start(client, 'client', target.addresses.join(), firstPort, seed, bytes * share);
      try {
        return await Promise.all([dialling.report, listening.report]);
      } finally {
        dialling.stop();
        listening.stop();
      }
    }

    it.each(paths)(
      '$path: no byte is out of place, and memory is bounded',
      {
        timeout: long ? 600_000 : 90_000,
      },
      async (over) => {
        const { path, server, nodes, security, without = [], mayNotWait } = over;
        const { lab } = world;
        const opened = () =>
          sumOf(lab, lab.pod(server).node, 'istio_tcp_connections_opened_total', {
            reporter: 'destination',
            destination_workload: server,
            connection_security_policy: security,
          });
        await knock(over);
        const pastTcpBefore = sentPastTcp();
        const before = await opened();
        const seed = Math.floor(Math.random() * 2 ** 31);
        const running = streamsOver(over, seed);
        const grown = await grownDuring(running);
        const [client, far] = await running;

        expect(faultsOf(client, far, mayNotWait).join('\n')).toBe('');
        expect(client.streams).toHaveLength(modes - without.length);
        await expect
          .poll(async () => (await opened()) - before, { timeout: 5000 })
          .toBe(client.streams.length);
        if (path === 'turbo') expect(sentPastTcp()).toBeGreaterThan(pastTcpBefore);
        else expect(sentPastTcp()).toBe(pastTcpBefore);
        const held = client.streams.find(({ mode }) => mode === 'held-back')?.sent ?? 0;
        const inMebibytes = Object.entries({ ...grown, held }).map(
          ([what, value]) => `${what} ${(value / mebibyte).toFixed(1)}`,
        );
        console.log(
          `${path}: ${(receivedBytes(client, far) / 1e9).toFixed(2)} GB, at most ${inMebibytes.join(', ')} MiB`,
        );
        if (long) expect(receivedBytes(client, far)).toBeGreaterThan(1e9);
        expect(held).toBeLessThan(mostHeldBack);
        expect(grown.resident).toBeLessThan(nodes.length * (24 + modes * 4 * 1.5) * mebibyte);
        expect(grown.tcp).toBeLessThan(mostTcp);
        expect(grown.slab).toBeLessThan(mostSlab);
      },
    );
  },
);
