/** The network between the nodes swallows everything, and no side hears of it: only an unanswered PING tells. */
import type { ChildProcess } from 'node:child_process';
import { expect, it } from 'vitest';
import type { LabPod } from '../../src/lab/pod.ts';
import { lastLineOf } from './last-line.ts';
import { connectionsOf, connectionWhere, residentBytes, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const pingIntervalMs = 1000;
const pingTimeoutMs = 1000;
/** Agents look once a second, so interval and time-out may each take a second more. */
const foundWithinMs = pingIntervalMs + pingTimeoutMs + 2000 + 1000;

/** A connection that says nothing once it stands; its end and why are the output. */
function silentConnection(from: LabPod, address: string): { child: ChildProcess; said: () => string } {
  const program = `const s = require('net').connect({ host: process.argv[1], port: Number(process.argv[2]) });
    s.on('connect', () => s.write('x')); s.on('data', () => console.log('open'));
    s.on('error', (e) => console.log(e.code)); s.on('close', () => process.exit(0));`;
  const child = from.spawn(['node', '-e', program, address, String(port)]);
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return { child, said: () => said.trim() };
}

describeInLab(
  'a node that is gone without a word',
  {
    agentEnv: {
      HADAL_HTTP2_PING_INTERVAL: `${pingIntervalMs}ms`,
      HADAL_HTTP2_PING_TIMEOUT: `${pingTimeoutMs}ms`,
      HADAL_CONNECT_TIMEOUT: '1500ms',
    },
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
      echoPod('shop/near', 'a', port, { serviceAccount: 'near' }),
    ],
  },
  (world) => {
    it('is found within the time-out of a PING, its connections end with that reason, and it may come back', async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const echo = lab.pod('echo');
      const busy = new Ticker(caller, echo.v4, { port, count: 2 });
      const silent = silentConnection(caller, echo.v6);
      await busy.running(2);
      await expect.poll(silent.said, { timeout: 5000 }).toBe('open');

      const heal = await lab.impair({ delayMs: 0, lossPercent: 100 });
      try {
        const lost = performance.now();
        await expect.poll(() => busy.latest.open, { timeout: foundWithinMs, interval: 50 }).toBe(0);
        await expect.poll(silent.said, { timeout: foundWithinMs, interval: 50 }).toBe('open\nECONNRESET');
        console.log(`found after ${Math.round(performance.now() - lost)} ms`);
        expect(performance.now() - lost).toBeLessThan(foundWithinMs);
        expect(busy.latest.errors).toEqual(['ECONNRESET', 'ECONNRESET']);
        // Both sides learn it, each by its own PING.
        for (const node of ['a', 'b']) {
          await expect
            .poll(() => sumOf(lab, node, 'hadal_connections_ended_early_total', { reason: 'ping_timeout' }), {
              timeout: foundWithinMs,
            })
            .toBe(3);
          const ended = await connectionWhere(lab, node, (one) => one.reason === 'ping_timeout');
          expect(ended).toMatchObject({ state: 'closed', path: 'tunnel' });
          expect((await connectionsOf(lab, node)).filter(({ state }) => state === 'live')).toEqual([]);
          expect(await sumOf(lab, node, 'hadal_tunnels_open')).toBe(0);
        }
        const refused = await dial(caller, echo.v4, port, 'hello');
        expect(refused).toMatchObject({ received: '', error: 'ECONNRESET' });
        const entry = await connectionWhere(lab, 'a', (one) => one.source.port === refused.localPort);
        expect(entry).toMatchObject({ state: 'refused', reason: 'connect_timeout' });
      } finally {
        await heal();
      }
      await expect
        .poll(async () => (await dial(caller, echo.v4, port, 'hello')).received, { timeout: 5000 })
        .toBe('hello');
      busy.stop();
      silent.child.kill('SIGKILL');
    });

    it('or whose agent hangs while others pour into it costs little memory, is found as well, and stops nobody else', async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const echo = lab.pod('echo');
      const near = new Ticker(caller, lab.pod('near').v4, { port, count: 2 });
      const busy = new Ticker(caller, echo.v4, { port, count: 2 });
      const argv = ['node', '/opt/hadal/package/test/mesh/programs/flood.ts', echo.v4, String(port), '8'];
      const flooding = caller.spawn(argv);
      const flood = lastLineOf(flooding, { open: 0, taken: 0 });
      const hung = lab.node('b').agent?.pid ?? 0;
      await Promise.all([near.running(2), busy.running(2)]);
      await expect.poll(() => flood.latest.open, { timeout: 5000 }).toBe(8);
      const before = residentBytes(lab, 'a');
      try {
        process.kill(hung, 'SIGSTOP');
        await expect.poll(() => busy.latest.open, { timeout: foundWithinMs, interval: 50 }).toBe(0);
        await expect.poll(() => flood.latest.open, { timeout: foundWithinMs, interval: 50 }).toBe(0);
        const ended = (await connectionsOf(lab, 'a')).filter(
          (one) =>
            one.destination.workload === 'echo' && one.state === 'closed' && one.direction === 'outbound',
        );
        expect(new Set(ended.slice(0, 10).map(({ reason }) => reason))).toEqual(new Set(['ping_timeout']));
        expect(residentBytes(lab, 'a') - before).toBeLessThan(48 * 1024 ** 2);
        await near.progressed();
        expect(near.latest).toMatchObject({ open: 2, errors: [] });
      } finally {
        process.kill(hung, 'SIGCONT');
      }
      await expect
        .poll(async () => (await dial(caller, echo.v4, port, 'hello')).received, { timeout: 8000 })
        .toBe('hello');
      for (const program of [near, busy]) program.stop();
      flooding.kill('SIGKILL');
    });
  },
);
