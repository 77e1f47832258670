/**
 * Streams of random pieces, written and read in every way that applications have, over each path that Hadal has: no byte
 * out of place, and memory bounded. Short in `npm test`, 1 GB over each path with HADAL_LONG=1.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { residentBytes, sumOf } from './observe.ts';
import { faultsOf, receivedBytes, StreamProcess, StreamProgram, type StreamReport } from './stream-ends.ts';
import { describeInLab, namespace, pod } from './world.ts';

const long = process.env.HADAL_LONG === '1';
const mebibyte = 1024 ** 2;
/** For each direction. */
const bytes = long ? 1024 * mebibyte : 48 * mebibyte;
const modes = 21;
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

const paths = [
  { path: 'the tunnel between nodes', server: 'far', nodes: ['a', 'b'], security: 'mutual_tls' },
  { path: 'the tunnel within a node', server: 'near-by-tunnel', nodes: ['a'], security: 'mutual_tls' },
] as const;

describeInLab(
  'streams over',
  {
    manifests: [
      namespace('t', { mesh: true }),
      pod('t/client', 'a'),
      pod('t/far', 'b'),
      pod('t/near-by-tunnel', 'a', { labels: { 'hadal.io/same-node': 'tunnel' } }),
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

    async function streamsTo(name: string, seed: number): Promise<[StreamReport, StreamReport]> {
      const target = world.lab.pod(name);
      const start = (where: typeof target, ...args: (string | number)[]) =>
        new StreamProcess(where.spawn([program.pathInPods, ...args.map(String)]));
      const server = start(target, 'server', firstPort, seed, bytes);
      await server.listening;
      const client = start(
        world.lab.pod('client'),
        'client',
        target.addresses.join(),
        firstPort,
        seed,
        bytes,
      );
      try {
        return await Promise.all([client.report, server.report]);
      } finally {
        client.stop();
        server.stop();
      }
    }

    it.each(paths)(
      '$path: no byte is out of place, and memory is bounded',
      {
        timeout: long ? 600_000 : 90_000,
      },
      async ({ path, server, nodes, security }) => {
        const { lab } = world;
        const node = lab.pod(server).node;
        const opened = () =>
          sumOf(lab, node, 'istio_tcp_connections_opened_total', {
            reporter: 'destination',
            destination_workload: server,
            connection_security_policy: security,
          });
        const before = await opened();
        const seed = Math.floor(Math.random() * 2 ** 31);
        const running = streamsTo(server, seed);
        const grown = await grownDuring(running);
        const [client, far] = await running;

        expect(faultsOf(client, far)).toEqual([]);
        expect(client.streams).toHaveLength(modes);
        await expect.poll(async () => (await opened()) - before, { timeout: 5000 }).toBe(modes);
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
