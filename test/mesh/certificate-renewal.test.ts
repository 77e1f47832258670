/** Certificates of seconds, renewed again and again under traffic. Short in `npm test`, a minute with HADAL_LONG=1. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { sumOf } from './observe.ts';
import { Ticker } from './ticker.ts';
import { describeInLab, echoPod, namespace, pod } from './world.ts';

const port = 8080;
const lifetimeSeconds = 3;
const seconds = process.env.HADAL_LONG === '1' ? 60 : 10;
const perSecond = 200;
const identities = ['caller', 'echo'].map((account) => `spiffe://cluster.local/ns/shop/sa/${account}`);

/** How many certificates the authority has signed for the identity. */
function signedFor(lab: Lab, identity: string): number {
  const lines = readFileSync(join(lab.directory, 'authority.log'), 'utf8').split('\n');
  return lines.filter((line) => line.includes('signed a certificate') && line.includes(`"${identity}"`))
    .length;
}

describeInLab(
  `certificates of ${lifetimeSeconds} s`,
  {
    certificateLifetimeMs: lifetimeSeconds * 1000,
    manifests: [
      namespace('shop', { mesh: true }),
      pod('shop/caller', 'a', { serviceAccount: 'caller' }),
      echoPod('shop/echo', 'b', port, { serviceAccount: 'echo' }),
    ],
  },
  (world) => {
    it(`are renewed under traffic for ${seconds} s: no connection fails, and the old ones live on`, {
      timeout: (seconds + 60) * 1000,
    }, async () => {
      const { lab } = world;
      const caller = lab.pod('caller');
      const echo = lab.pod('echo');
      const older = new Ticker(caller, echo.v6, { port, count: 5 });
      await older.running(5);
      const before = identities.map((identity) => signedFor(lab, identity));
      const opened = await sumOf(lab, 'a', 'hadal_tunnels_opened_total');
      const program = '/opt/hadal/package/test/mesh/programs/reset-storm.ts';
      const args = [echo.v4, port, perSecond, seconds].map(String);
      const { stdout } = await caller.exec(['node', program, ...args], { timeoutMs: (seconds + 30) * 1000 });
      const renewed = identities.map((identity, index) => signedFor(lab, identity) - (before[index] ?? 0));
      const reopened = (await sumOf(lab, 'a', 'hadal_tunnels_opened_total')) - opened;
      console.log(`renewed ${renewed.join(' and ')} times, ${reopened} new tunnels; ${stdout.trim()}`);
      expect(JSON.parse(stdout)).toMatchObject({ done: perSecond * seconds, failed: 0 });
      // Half a life each at most, with a margin for a slow machine.
      for (const count of renewed)
        expect(count).toBeGreaterThanOrEqual(Math.floor(seconds / lifetimeSeconds));
      // New connections went by tunnels that were made with the new certificates.
      expect(reopened).toBeGreaterThanOrEqual(Math.floor(seconds / lifetimeSeconds));
      await older.progressed();
      expect(older.latest).toMatchObject({ open: 5, errors: [] });
      for (const node of ['a', 'b'])
        expect(await sumOf(lab, node, 'istio_tcp_connections_failed_total')).toBe(0);
      // The tunnels of certificates that nobody has any more end with their last connection.
      older.stop();
      await expect
        .poll(() => sumOf(lab, 'a', 'hadal_tunnels_open'), { timeout: 5000 })
        .toBeLessThanOrEqual(8);
    });
  },
);
