/** The certificate authority is away: what runs goes on, what comes is refused and says why, and soon after it is back all is well. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { occurrences } from './capture-search.ts';
import { connectionWhere, sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, dial, echoPod, namespace, pod, whoAmIPod } from './world.ts';

const port = 8080;
const lateIdentity = 'spiffe://cluster.local/ns/shop/sa/late';

interface LogLine {
  readonly msg: string;
  readonly identity?: string;
  readonly retryInMs?: number;
  readonly err?: { readonly message: string };
}

function logOf(lab: Lab, node: string): LogLine[] {
  const text = readFileSync(lab.node(node).agent?.logPath ?? '', 'utf8');
  return text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LogLine] : []));
}

interface Status {
  readonly ready: boolean;
  readonly pods: readonly { readonly name: string; readonly state: string; readonly error?: string }[];
}

async function statusOf(lab: Lab, node: string): Promise<Status> {
  const { body } = (await lab.node(node).agent?.get(15000, '/status')) ?? { body: '{}' };
  return JSON.parse(body) as Status;
}

describeInLab(
  'while the certificate authority is away',
  {
    // Renewed after some 6 s: while it is away the renewal fails, long before the certificate expires.
    certificateLifetimeMs: 13_000,
    agentEnv: { HADAL_ENROL_TIMEOUT: '500ms' },
    manifests: [
      namespace('shop', { mesh: true }),
      namespace('plain'),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      whoAmIPod('shop/who', 'b', port, { serviceAccount: 'who' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
      pod('plain/walker', 'a'),
    ],
  },
  (world) => {
    it('running pods go on, a new one is captured and refused with its reason, and works soon after', async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const who = lab.pod('who');
      const marker = `marker-${process.pid}-away`;
      const control = `control-${process.pid}-away`;
      const older = new Ticker(caller, lab.pod('echo').v4, { port, count: 3 });
      await older.running(3);
      await lab.agents?.stopAuthority();
      try {
        const capture = await lab.capture(['tcp']);
        await lab.apply(echoPod('shop/late', 'a', port, { serviceAccount: 'late' }));
        await lab.waitReady();
        const late = lab.pod('late');
        for (const address of [who.v4, who.v6]) {
          expect(await dial(late, address, port, marker)).toMatchObject({
            received: '',
            error: 'ECONNRESET',
          });
        }
        // Nor is anybody let in to it without proof of who it is.
        expect(await dial(who, late.v4, port, marker)).toMatchObject({ received: '', error: 'ECONNRESET' });
        await dial(lab.pod('walker'), who.v4, port, control);

        const refused = await connectionWhere(lab, 'a', (one) => one.source.address === late.v4);
        expect(refused).toMatchObject({
          state: 'refused',
          reason: 'identity_unavailable',
          reasonText: 'no valid certificate for the workload',
        });
        const outside = await connectionWhere(lab, 'b', (one) => one.destination.address === late.v4);
        expect(outside.state).toBe('refused');
        // The far agent resets it as soon as it is there, which may be seen a moment earlier or later.
        expect(['connect_failed', 'tls_handshake']).toContain(outside.reason);
        expect(await sumOf(lab, 'a', 'hadal_certificates', { state: 'valid' })).toBeGreaterThan(0);
        const { ready, pods } = await statusOf(lab, 'a');
        // The others are served: the agent stays ready, and tells what this pod lacks.
        expect(ready).toBe(true);
        expect(pods.find(({ name }) => name === 'shop/late')).toMatchObject({
          state: 'enrolled',
          error: expect.stringMatching(/^no certificate, so its connections are refused: .*authority\.sock/),
        });
        expect(logOf(lab, 'a').map(({ msg }) => msg)).toEqual(
          expect.arrayContaining([
            'the pod is captured before its certificate is there; its connections are refused until it comes',
            expect.stringMatching(/^no tunnel to .*:15008 for .*: no certificate for .*\/sa\/late$/),
          ]),
        );

        // Renewals of the running ones fail meanwhile, and nobody notices.
        await expect
          .poll(() => sumOf(lab, 'a', 'hadal_certificates', { state: 'overdue' }), { timeout: 10_000 })
          .toBe(1);
        expect((await dial(caller, who.v4, port, marker)).ok).toBe(true);
        const { dropped } = await capture.stop();
        expect(dropped).toBe(0);
        expect(occurrences(capture.file, control)).toBeGreaterThan(0);
        expect(occurrences(capture.file, marker)).toBe(0);
      } finally {
        await lab.agents?.startAuthority();
      }
      const back = performance.now();
      await expect
        .poll(async () => (await dial(lab.pod('late'), who.v4, port)).ok, { timeout: 10_000, interval: 100 })
        .toBe(true);
      await expect
        .poll(() => sumOf(lab, 'a', 'hadal_certificates', { state: 'valid' }), { timeout: 5000 })
        .toBe(2);
      console.log(`all certificates ${Math.round(performance.now() - back)} ms after the authority was back`);
      expect((await dial(who, lab.pod('late').v4, port, 'hello')).received).toBe('hello');
      expect((await statusOf(lab, 'a')).pods.every(({ error }) => error === undefined)).toBe(true);
      await older.progressed();
      expect(older.latest).toMatchObject({ open: 3, errors: [] });
      older.stop();
    });

    it('it is asked again and again, less often each time and never in step', () => {
      const waits = logOf(world.lab, 'a').flatMap(({ msg, identity, retryInMs }) =>
        msg === 'no certificate' && identity === lateIdentity && retryInMs !== undefined ? [retryInMs] : [],
      );
      expect(waits.length).toBeGreaterThanOrEqual(3);
      for (const [index, wait] of waits.entries()) {
        const full = Math.min(500 * 2 ** index, 10_000);
        expect(wait).toBeGreaterThanOrEqual(full * 0.8);
        expect(wait).toBeLessThanOrEqual(full);
      }
      expect(waits.some((wait, index) => wait !== 500 * 2 ** index)).toBe(true);
    });
  },
);
