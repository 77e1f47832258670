/** Long proofs with a duration: short in `npm test`, in full in `npm run test:long` (HADAL_LONG=1). */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { connectionsOf, mapEntriesOf } from './observe.ts';
import { describeInLab, namespace, pod } from './world.ts';

const long = process.env.HADAL_LONG === '1';
const programs = '/opt/hadal/package/test/mesh/programs';
const generator = '/opt/hadal/package/build/Release/hadal-bench';
const echoPort = 7700;
const sourcePort = echoPort + 2;

const storm = { ratePerSecond: 1000, seconds: long ? 90 : 8 };
/** More than the tunnels that are opened for speed alone have room for. */
const openAtOnce = 2500;
const leak = { ratePerSecond: 1000, seconds: long ? 10 : 3 };

interface StormResult {
  readonly done: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
}

describeInLab(
  'many short connections',
  {
    // How many tunnels a hot destination gets depends on the moment; without connections all of them go.
    agentEnv: { HADAL_POOL_IDLE_RELEASE: '1s' },
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/client', 'a', { serviceAccount: 'client' }),
      pod('shop/server', 'b', { serviceAccount: 'server' }),
    ],
  },
  (world) => {
    let server: ChildProcess;

    beforeAll(async () => {
      server = world.lab.pod('server').spawn([generator, 'server', String(echoPort)]);
      await new Promise((resolve) => server.stdout?.once('data', resolve));
      server.stdin?.write('source on\n');
    });
    afterAll(() => {
      server.kill('SIGKILL');
    });

    async function runStorm({ ratePerSecond, seconds }: typeof storm): Promise<StormResult> {
      const args = [world.lab.pod('server').v4, echoPort, ratePerSecond, seconds].map(String);
      const result = await world.lab
        .pod('client')
        .exec(['node', `${programs}/reset-storm.ts`, ...args], { timeoutMs: (seconds + 60) * 1000 });
      return JSON.parse(result.stdout) as StormResult;
    }

    it(`of ${storm.ratePerSecond} a second for ${storm.seconds} s, each ended by RST, none fails, ports do not fill, and the download beside them goes on`, {
      timeout: (storm.seconds + 90) * 1000,
    }, async () => {
      const { lab } = world;
      const download = lab
        .pod('client')
        .spawn(['node', `${programs}/download.ts`, lab.pod('server').v4, String(sourcePort)]);
      let seen = { received: 0, ended: false };
      download.stdout?.on('data', (chunk: Buffer) => {
        seen = JSON.parse(chunk.toString().trim().split('\n').at(-1) ?? '') as typeof seen;
      });
      await expect.poll(() => seen.received, { timeout: 8000 }).toBeGreaterThan(0);
      const carrier = await tunnelOf(lab, lab.pod('server').v4);
      expect(carrier).not.toEqual([]);

      let mostTimeWait = 0;
      const started = performance.now();
      const running = runStorm(storm);
      let over = false;
      const watching = (async () => {
        while (!over) {
          mostTimeWait = Math.max(mostTimeWait, await timeWait(lab));
          await sleep(500);
        }
      })();
      const result = await running;
      const seconds = (performance.now() - started) / 1000;
      over = true;
      await watching;

      console.log(
        `storm: ${JSON.stringify(result)}, TIME_WAIT at most ${mostTimeWait}, download ${seen.received} bytes`,
      );
      expect(result).toEqual({ ...result, done: storm.ratePerSecond * storm.seconds, failed: 0 });
      expect(seconds).toBeLessThan(1.25 * storm.seconds + 5);
      expect(mostTimeWait).toBeLessThan(1000);
      expect(seen.ended).toBe(false);
      const after = seen.received;
      await expect.poll(() => seen.received, { timeout: 8000 }).toBeGreaterThan(after);
      expect(await tunnelOf(lab, lab.pod('server').v4)).toEqual(expect.arrayContaining(carrier));
      download.kill('SIGKILL');
    });

    it(`as ${openAtOnce} that are open at once between the same two pods all carry data`, {
      timeout: 60_000,
    }, async () => {
      const client = world.lab
        .pod('client')
        .spawn([generator, 'client', 'idle', world.lab.pod('server').v4, echoPort, openAtOnce].map(String));
      let said = '';
      for (const output of [client.stdout, client.stderr]) {
        output?.on('data', (chunk: Buffer) => {
          said += chunk;
        });
      }
      await expect.poll(() => said, { timeout: 45_000 }).not.toBe('');
      client.kill('SIGKILL');
      expect(said.trim()).toBe(JSON.stringify({ ready: openAtOnce }));
    });

    it('leave nothing behind: a second round needs no more descriptors, map entries or memory than the first', {
      timeout: 180_000,
    }, async () => {
      const measure = async () => {
        await sleep(5000);
        return await Promise.all(world.lab.nodes.map((node) => footprint(world.lab, node.name)));
      };
      await runStorm(leak);
      await runStorm(leak);
      // JavaScript's heap grows by itself at times; what leaks would grow in every round.
      let before = await measure();
      for (let rounds = 1; ; rounds++) {
        await runStorm(leak);
        const after = await measure();
        console.log(`footprint after ${JSON.stringify(before)} and ${JSON.stringify(after)}`);
        for (const [index, node] of after.entries()) {
          expect(node.descriptors).toBeLessThanOrEqual(before[index]?.descriptors ?? 0);
          expect(node.mapEntries).toEqual(before[index]?.mapEntries);
        }
        const grown = after.map((node, index) => node.privateBytes - (before[index]?.privateBytes ?? 0));
        if (Math.max(...grown) < 1_000_000) break;
        expect(
          rounds,
          `private memory grew by ${grown.join(' and ')} bytes, as in each round before`,
        ).toBeLessThan(4);
        before = after;
      }
      expect(
        (await connectionsOf(world.lab, 'a')).filter(
          (one) => one.state === 'live' && one.destination.port === echoPort,
        ),
      ).toEqual([]);
    });
  },
);

/** Local ports of the tunnels from node a to the address, which name the connections. */
async function tunnelOf(lab: Lab, address: string): Promise<number[]> {
  const answer = await lab.node('a').agent?.get(15000, '/config_dump?section=tunnels');
  const { tunnels } = JSON.parse(answer?.body ?? '{}') as {
    tunnels: { remoteAddress: string; localPort: number; streams: number }[];
  };
  return tunnels
    .filter((one) => one.remoteAddress === address && one.streams > 0)
    .map((one) => one.localPort);
}

/** The largest number of sockets in TIME_WAIT in any of the pods. */
async function timeWait(lab: Lab): Promise<number> {
  const counts = await Promise.all(
    lab.pods.map(async (one) => {
      const { stdout } = await one.exec(['cat', '/proc/net/tcp', '/proc/net/tcp6']);
      return stdout.split('\n').filter((line) => / 06 [0-9A-F]{8}:/.test(line)).length;
    }),
  );
  return Math.max(...counts);
}

interface Footprint {
  readonly descriptors: number;
  readonly privateBytes: number;
  /** Entries of the pinned maps that grow with what happens, by name. */
  readonly mapEntries: Readonly<Record<string, number>>;
}

async function footprint(lab: Lab, node: string): Promise<Footprint> {
  const pid = lab.node(node).agent?.pid ?? 0;
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    privateBytes: (kilobytes('Private_Clean') + kilobytes('Private_Dirty')) * 1024,
    mapEntries: mapEntriesOf(lab, node),
  };
}
