/** Applications that stop reading: agents hold a bounded part of what is sent, and the tunnel serves the others. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { lastLineOf } from './last-line.ts';
import { residentBytes } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const deafPort = 8081;
const programs = '/opt/hadal/package/test/mesh/programs';
const mebibyte = 1024 ** 2;
/** More than a tunnel's window has room for, when each holds a whole stream's. */
const stalled = 12;
/** Of one agent: the window of each stream, what its buffers waste as they grow, and some for Node. */
const mostBytes = (count: number) => (24 + count * 4 * 1.5) * mebibyte;

interface Flood {
  readonly open: number;
  readonly taken: number;
}

async function outboundTunnels(lab: Lab): Promise<{ localPort: number; streams: number }[]> {
  const answer = await lab.node('a').agent?.get(15000, '/config_dump?section=tunnels');
  const { tunnels } = JSON.parse(answer?.body ?? '{}') as {
    tunnels: { direction: string; localPort: number; streams: number }[];
  };
  return tunnels.filter(({ direction }) => direction === 'outbound');
}

describeInLab(
  'an application that stops reading',
  {
    // One worker and one tunnel: all share it.
    agentEnv: { HADAL_WORKERS: '1', HADAL_POOL_MAX_CONNECTIONS: '1' },
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    it.each([1, stalled])(
      'and does so on %i connections costs little memory, and the others in the tunnel go on',
      async (count) => {
        const { lab } = world;
        const caller = lab.pod('caller');
        const echo = lab.pod('echo');
        const deaf = echo.spawn(['node', `${programs}/deaf-server.ts`, String(deafPort)]);
        const held = lastLineOf(deaf, { held: -1 });
        await expect.poll(() => held.latest.held, { timeout: 8000 }).toBe(0);
        const other = new Ticker(caller, echo.v4, { port, count: 2 });
        await other.running(2);
        const before = ['a', 'b'].map((node) => residentBytes(lab, node));
        const [tunnel] = await outboundTunnels(lab);

        const flooding = caller.spawn([
          'node',
          `${programs}/flood.ts`,
          echo.v4,
          String(deafPort),
          String(count),
        ]);
        const flood = lastLineOf<Flood>(flooding, { open: 0, taken: 0 });
        try {
          await expect.poll(() => held.latest.held, { timeout: 8000 }).toBe(count);
          // Until nothing more is taken: the application that sends is held back, too.
          let taken = -1;
          await expect
            .poll(
              () => {
                const still = flood.latest.taken === taken;
                taken = flood.latest.taken;
                return still && taken > 0;
              },
              { timeout: 15_000, interval: 1000 },
            )
            .toBe(true);
          const grown = ['a', 'b'].map((node, index) => residentBytes(lab, node) - (before[index] ?? 0));
          console.log(
            `${count} stalled: ${(taken / mebibyte).toFixed(1)} MiB taken, agents grew by ${grown.map((bytes) => (bytes / mebibyte).toFixed(1)).join(' and ')} MiB`,
          );
          for (const bytes of grown) expect(bytes).toBeLessThan(mostBytes(count));
          expect(await outboundTunnels(lab)).toEqual([
            expect.objectContaining({ localPort: tunnel?.localPort, streams: count + 2 }),
          ]);
          await other.progressed();
          await sleep(500);
          await other.progressed();
          expect(other.latest).toMatchObject({ open: 2, errors: [] });
          const text = 'x'.repeat(100_000);
          expect((await dial(caller, echo.v4, port, text)).received).toHaveLength(text.length);
        } finally {
          flooding.kill('SIGKILL');
          deaf.kill('SIGKILL');
          other.stop();
        }
        // Their window comes back to the tunnel.
        await expect
          .poll(async () => (await outboundTunnels(lab)).map(({ streams }) => streams), { timeout: 5000 })
          .toEqual([0]);
      },
    );
  },
);
