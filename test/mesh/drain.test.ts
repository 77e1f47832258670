/** The agent of the destination's node ends on SIGTERM while connections cross the nodes, and comes back. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { FabricCapture } from '../../src/lab/capture.ts';
import type { CommandResult } from '../../src/lab/command.ts';
import { connectionWhere, sectionOf, sumOf, tunnelsOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;
const deadlineMs = 4_000;
const marker = `marker-${process.pid}-drain`;
const control = `control-${process.pid}-drain`;

/** Ends by itself, in peace, some time after it was opened. */
const leisurely = `
  const s = require('net').connect({ host: process.argv[1], port: ${port} });
  let received = '';
  s.on('connect', () => { s.write('${marker} one '); setTimeout(() => s.end('${marker} two'), 2500); });
  s.on('data', (d) => { received += d; });
  s.on('error', (e) => { console.log(e.code); process.exit(); });
  s.on('end', () => { console.log(received); process.exit(); });`;

describeInLab(
  'an agent that drains',
  {
    agentEnv: { HADAL_DRAIN_DEADLINE: `${deadlineMs}ms` },
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
      whoAmIPod('shop/who', 'a', port, { serviceAccount: 'who' }),
      pod('plain/stranger', 'a'),
      echoPod('plain/store', 'b', port),
    ],
  },
  (world) => {
    let capture: FabricCapture;
    let remaining: Ticker;
    let leaving: Promise<CommandResult>;
    let ended: Promise<number> | undefined;
    let startedMs: number;
    const agent = () => {
      const of = world.lab.node('b').agent;
      if (of === undefined) throw new Error('node b has no agent');
      return of;
    };
    const call = (from: string, to: string) => {
      const { lab } = world;
      return dial(lab.pod(from), lab.pod(to).v4, port, marker);
    };

    beforeAll(async () => {
      const { lab } = world;
      capture = await lab.capture(['tcp']);
      const echo = lab.pod('echo').v4;
      remaining = new Ticker(lab.pod('caller'), echo, { port, count: 2 });
      await remaining.running(2);
      leaving = lab.pod('caller').exec(['node', '-e', leisurely, echo]);
      await vi.waitFor(async () => expect(await sumOf(lab, 'b', 'hadal_connections_open')).toBe(3), 5000);
      startedMs = performance.now();
      ended = agent().kill('SIGTERM');
    });
    afterAll(() => remaining?.stop());

    it('says at once that it is not ready, and goes on telling how it goes', async () => {
      await expect
        .poll(async () => await agent().get(15021, '/healthz/ready'), { timeout: 2000, interval: 50 })
        .toMatchObject({ status: 503, body: expect.stringContaining('draining') });
      expect(await sumOf(world.lab, 'b', 'hadal_connections_open')).toBeGreaterThanOrEqual(2);
      await remaining.progressed();
    });

    it('tells its peers, so that their next connections do not go into it, and are refused without delay', async () => {
      const { lab } = world;
      const began = performance.now();
      const seen = await call('caller', 'echo');
      expect(seen).toMatchObject({ received: '', error: 'ECONNRESET' });
      expect(performance.now() - began).toBeLessThan(2000);
      const entry = await connectionWhere(lab, 'a', (one) => one.state === 'refused');
      expect(entry).toMatchObject({
        path: 'tunnel',
        destination: { address: lab.pod('echo').v4 },
        reason: 'connect_refused',
      });
      // The tunnel that it had goes on for those that are in it.
      await remaining.progressed();
      expect(await tunnelsOf(lab, 'a', lab.pod('echo').v4)).toHaveLength(1);
    });

    it('lets connections end by themselves, ends the others abortively at its deadline, and then itself with status 0', async () => {
      expect((await leaving).stdout).toBe(`${marker} one ${marker} two\n`);
      expect(remaining.latest).toMatchObject({ open: 2, errors: [] });
      expect(await ended).toBe(0);
      const tookMs = performance.now() - startedMs;
      expect(tookMs).toBeGreaterThan(deadlineMs - 100);
      expect(tookMs).toBeLessThan(deadlineMs + 2000);
      await expect.poll(() => remaining.latest.open, { timeout: 2000 }).toBe(0);
      expect(remaining.latest.errors).toEqual(['ECONNRESET', 'ECONNRESET']);
    });

    it('counts those, and so does the peer', async () => {
      expect(agent().lastWords()).toMatch(/"ended":1,"drained":2,"msg":"connections have ended"/);
      const early = { reason: 'tunnel_lost' };
      expect(await sumOf(world.lab, 'a', 'hadal_connections_ended_early_total', early)).toBe(2);
    });

    it('leaves the capture in force: nobody reaches its pods and its pods reach nobody, in the clear or otherwise', async () => {
      for (const [from, to] of [
        ['caller', 'echo'],
        ['stranger', 'echo'],
        ['echo', 'who'],
        ['echo', 'store'],
      ] as const) {
        expect(await call(from, to), `${from} to ${to}`).toMatchObject({ ok: false, received: '' });
      }
    });

    it('is followed by one that adopts what was pinned and carries the same pods', async () => {
      const { lab } = world;
      agent().start();
      await agent().waitReady();
      expect(await sectionOf(lab, 'b', 'capture')).toMatchObject({ adopted: true, pods: [{}] });
      expect(await call('caller', 'echo')).toMatchObject({ ok: true, received: marker });
      expect(await call('echo', 'who')).toMatchObject({ ok: true });
    });

    it('lets nothing go in the clear all the while, as a capture shows that would have seen it', async () => {
      const { lab } = world;
      await dial(lab.pod('stranger'), lab.pod('store').v4, port, control);
      expect((await capture.stop()).dropped).toBe(0);
      const seen = readFileSync(capture.file);
      expect(seen.includes(control)).toBe(true);
      expect(seen.includes(marker)).toBe(false);
    });

    it('ends at once when it has no connections', async () => {
      const began = performance.now();
      expect(await agent().kill('SIGTERM')).toBe(0);
      expect(performance.now() - began).toBeLessThan(deadlineMs - 1000);
    });
  },
);
